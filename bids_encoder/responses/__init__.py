"""BOLD becomes a response matrix: masks, GLM, time series."""
