"""Simulations of neural codes that need no dataset."""
