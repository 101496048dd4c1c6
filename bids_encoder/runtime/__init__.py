"""The terminal, the environment, threads and memory of this process."""
