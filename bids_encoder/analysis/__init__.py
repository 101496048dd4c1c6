"""One analysis (a participant, a task, a space), from the plan to the tables."""
