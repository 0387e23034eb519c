"""Runs as jupyterhub: hub and proxy, and what keeps them running."""
