"""Why a mark is missed, by figure: shown only while it is. Written by people, after looking.

Of what the measured package is, not of an earlier one: whoever measures anew reads these again.
"""

from __future__ import annotations

REASONS: dict[str, str] = {
    "install_to_portal": (
        "the members' JupyterLab is built meanwhile (ADR 37): without that the portal would come some seconds sooner,"
        " and the first member's JupyterLab later"
    ),
    "install_to_lab": (
        "a quarter less than before, and missed by little. Of what is left a third is apt's, and most of the rest"
        " compiles to bytecode on both processors; what is computed takes up to 1.7 times as long on one day as on"
        " another, what is fetched does not"
    ),
}
