"""Runs as root: newer versions, and the way back from them."""
