"""A dataset whose truth is known, and how much of it the app finds."""
