"""Runs as root: backups, and restoring from them."""
