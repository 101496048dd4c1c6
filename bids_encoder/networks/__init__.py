"""Convolutional networks: a picture becomes activations of named layers."""
