"""Who computes features and fits: this process, or the workers of a cluster."""
