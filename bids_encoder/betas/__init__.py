"""Responses estimated elsewhere: where they are found, what they show, their values."""
