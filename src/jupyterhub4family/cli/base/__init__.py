"""Runs as the caller: what several commands need."""
