"""The group level: what participants have in common."""
