"""Runs as root, inside the door `members`: has the hub told, by a program that runs as the account `jupyterhub`.

Root itself reads no secret of the service and speaks no HTTP.
"""

from __future__ import annotations

import json

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _, from_json
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.common.system.programs import Arg


def update_hub(action: str, name: str) -> str:
    """Ask the hub to know or forget `name`; returns a note for people when that was not possible, else ''."""
    args: list[Arg] = [*programs.as_account(accounts.SERVICE_ACCOUNT), paths.LIBRARY / "tell-hub"]
    try:
        done = programs.run(args, text_input=json.dumps({"action": action, "names": [name]}), check=False, timeout=120)
        answer = json_lines.last_answer(done.output)
    except (FamilyError, ValueError):
        return _("the hub could not be told; it finds out at its next start")
    if answer.get("ok"):
        return ""
    return _("{reason}; the hub finds out at its next start", reason=from_json(answer.get("error")))
