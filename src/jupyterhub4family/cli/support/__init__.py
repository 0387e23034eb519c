"""Runs as the caller: the command `support`."""
