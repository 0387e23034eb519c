"""Runs as jupyterhub: what is fetched and built: releases and the template."""
