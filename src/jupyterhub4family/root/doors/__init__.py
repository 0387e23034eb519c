"""Runs as root: the doors, and what only they need."""
