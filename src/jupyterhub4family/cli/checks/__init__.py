"""Runs as the caller: what `doctor` looks at, one small module for each part of the machine."""
