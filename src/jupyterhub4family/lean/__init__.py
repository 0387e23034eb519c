"""Runs as the member, inside their server: starts it without what only the hub needs (ADR 27)."""
