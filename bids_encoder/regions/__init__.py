"""Regions of interest: where they are found, and which voxels are theirs."""
