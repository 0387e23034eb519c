"""Runs as jupyterhub: the portal's certificates."""
