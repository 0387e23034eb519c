"""Runs as the caller: the command `cert`."""
