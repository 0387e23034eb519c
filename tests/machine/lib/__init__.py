"""Throw-away Debian machines for tests. Start with `machine.py` and `plugin.py`."""

from tests.machine.lib.places import DEBIANS

__all__ = ["DEBIANS"]
