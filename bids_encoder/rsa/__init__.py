"""Representational similarity: matrices, their comparison, neighbouring voxels."""
