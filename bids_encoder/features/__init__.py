"""Activations become feature matrices: reduction, time, cache."""
