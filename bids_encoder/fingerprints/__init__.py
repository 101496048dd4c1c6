"""What the scores say: profile over layers, best layer, slope."""
