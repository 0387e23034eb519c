"""Runs as root, inside the door `members`: has the hub told, by a program that runs as the account `jupyterhub`.

Root itself reads no secret of the service and speaks no HTTP.
"""

from __future__ import annotations

import json

from jupyterhub4family.common.accounts import SERVICE_ACCOUNT
from jupyterhub4family.common.documents import last_answer
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.messages import _, from_json
from jupyterhub4family.common.paths import LIBRARY
from jupyterhub4family.common.programs import Word, as_account, run


def tell_hub(action: str, name: str) -> str:
    """Ask the hub to know or forget `name`; returns a note for people when that was not possible, else ''."""
    words: list[Word] = [*as_account(SERVICE_ACCOUNT), LIBRARY / "tell-hub"]
    try:
        done = run(words, text_input=json.dumps({"action": action, "names": [name]}), check=False, timeout=120)
        answer = last_answer(done.output)
    except (FamilyError, ValueError):
        return _("the hub could not be told; it finds out at its next start")
    if answer.get("ok"):
        return ""
    return _("{reason}; the hub finds out at its next start", reason=from_json(answer.get("error")))
