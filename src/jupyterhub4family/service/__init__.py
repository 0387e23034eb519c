"""Runs as jupyterhub: releases, templates, supervision, setup page. No rights beyond its own files."""
