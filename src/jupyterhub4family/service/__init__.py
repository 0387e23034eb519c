"""Runs as jupyterhub, the service's own account: releases, templates, supervision, setup page. No rights beyond its own files."""
