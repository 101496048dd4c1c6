"""Meshes of the cortex, and GIFTI files."""
