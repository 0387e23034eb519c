"""Runs as root, inside the door `members`: has the hub told, by a program that runs as the account `jupyterhub`.

Root itself reads no secret of the service and speaks no HTTP.
"""

from __future__ import annotations

from typing import Any

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Action
from jupyterhub4family.common.protocol.responses import ResponseError
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.common.system.programs import ProgramError


def add(name: str) -> str:
    """Have the hub list `name`; returns a note for people when that was not possible, else ''."""
    return _ask(service_programs.ADD_USERS, name)


def remove(name: str) -> str:
    """Have the hub stop the servers of `name` and forget them; returns a note as `add` does."""
    return _ask(service_programs.REMOVE_USERS, name)


def _ask(action: Action[service_programs.Names, Any], name: str) -> str:
    become = programs.as_account(accounts.SERVICE_ACCOUNT)
    try:
        calling.call(action, service_programs.Names([name]), become=become)
    except (ProgramError, ResponseError):
        return _("the hub could not be reached; it learns of it at its next start")
    except FamilyError as error:
        return _("{reason}; the hub learns of it at its next start", reason=error.message)
    return ""
