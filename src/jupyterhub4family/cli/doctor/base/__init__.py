"""Runs as the caller: what all checks of `doctor` start from."""
