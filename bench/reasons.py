"""Why a mark is missed, by figure: shown only while it is. Written by people, after looking.

Of what the measured package is, not of an earlier one: whoever measures anew reads these again.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    "install_to_portal": (
        "the members' JupyterLab is built meanwhile (ADR 37): without that the portal would come some seconds sooner,"
        " and the first member's JupyterLab later"
    ),
}
