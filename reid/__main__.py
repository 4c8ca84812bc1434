"""List the commands, with one line each."""
