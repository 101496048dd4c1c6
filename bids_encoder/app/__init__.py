"""The command: arguments become settings, settings become levels, participants, an exit code."""
