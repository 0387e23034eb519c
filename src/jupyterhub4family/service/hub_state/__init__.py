"""Runs as jupyterhub: what the hub remembers."""
