"""Where values lie: the voxels of a volume, the vertices of two hemispheres, or both."""
