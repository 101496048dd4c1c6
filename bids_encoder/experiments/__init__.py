"""Experiments that nobody ran, predicted from models."""
