"""Reads a BIDS dataset, and nothing else."""
