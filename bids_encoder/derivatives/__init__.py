"""What is written: names, images, tables, sidecars, and reading them back."""
