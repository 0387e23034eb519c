"""Runs inside JupyterHub's process, as `jupyterhub`: the only room with third-party imports."""
