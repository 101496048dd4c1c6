"""Brain maps for experiments that nobody ran."""
