"""Runs as the member: the mediator, the member's environment, the start of their server."""
