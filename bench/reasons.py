"""Why a mark is missed, by figure: shown only while it is. Written by people, after looking.

Of what the measured package is, not of an earlier one: whoever measures anew reads these again.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    "warm_cpu": (
        "missed on Debian 13 only, and there for what is done before start is pressed: three fifths of that is what a"
        " server imports, with Python 3.13. The computer was slower while Debian 13 was measured, as the floor shows"
    ),
    "hub_cpu": (
        "missed on Debian 13 only, while the computer was slower: 0.054 s was the least of five. What the hub does in a"
        " start stands in ADR 34"
    ),
    "doctor_cpu": (
        "it took 2.8 to 3.6 s within ten minutes, as fast as the computer was at the time. The most is one import of"
        " all that a server needs (0.9) and the comparison of 30,000 files with their sums (0.8). Since this was"
        " measured the proxy is compared as well and not started, which saves 0.1"
    ),
}
