"""Any identity: regular expressions that are compiled when they are first used.

To compile one takes a tenth of a millisecond or more, and a program that lives for a moment uses few of those that its
modules have. To a type checker they are Python's own.
"""

from __future__ import annotations

__all__ = ["compiled"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from re import compile as compiled
else:

    class compiled:
        """As `re.compile`; what is wrong with the expression is told at its first use."""

        def __init__(self, expression, flags=0):
            self._given = expression, flags

        def __getattr__(self, name):
            # Not asked for what is there: from the second time on a method costs what it always costs.
            import re

            found = getattr(re.compile(*self._given), name)
            setattr(self, name, found)
            return found
