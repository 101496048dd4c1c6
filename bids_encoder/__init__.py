"""Encoding models of visual cortex from BIDS datasets and deep networks."""

__version__ = "0.1.0"
