"""Runs as the caller: the command `doctor`."""
