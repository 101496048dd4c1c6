"""Ridge regression from features to voxels: arrays in, arrays out."""
