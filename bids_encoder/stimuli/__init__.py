"""Pixels: what the participants saw."""
