"""Fuzzing of everything that parses what somebody else wrote, guided by coverage. See __main__.py."""
