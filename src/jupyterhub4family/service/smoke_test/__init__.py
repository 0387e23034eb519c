"""Runs as jupyterhub: tries the portal as a member would."""
