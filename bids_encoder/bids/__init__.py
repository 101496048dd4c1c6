"""Reading and writing BIDS: file names, tables and sidecars; no numerics."""
