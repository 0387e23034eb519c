"""Runs as the caller: what `doctor` looks at, one module for each promise."""
