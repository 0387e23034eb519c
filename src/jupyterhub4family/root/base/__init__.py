"""Runs as root: what all of root's programs need."""
