"""Runs as the caller: the command `config`."""
