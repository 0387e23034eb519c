"""Why a mark is missed, by figure: shown only while it is. Written by people, after looking.

Of what the measured package is, not of an earlier one: whoever measures anew reads these again.
"""

REASONS: dict[str, str] = {}
