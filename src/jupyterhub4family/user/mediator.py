"""Runs as the member, through sudo, called by the account `jupyterhub`: the door to a member's servers.

Reads one JSON object and does one thing as the member: `prepare` their environment, `spawn` a single-user
server, `kill` (signal) such a server, `end` all that one has left behind, note in its log that the kernel has
`killed` one of its programs, show the end of its `log`. It may not run anything else: the executable is fixed, the
environment is built here from an allow-list. Nothing stays behind: the server is started by a double fork and is no
child of anybody.

The words `spawn` and `kill` and their answers are those of sudospawner's mediator, so its SudoSpawner drives it.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from typing import Any, Callable

from jupyterhub4family.common.errors import FamilyError, PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.system import accounts
from jupyterhub4family.user import environment, limit_server, server


def main() -> int:
    """Answer one request. The last line of stdout is the answer; lines before it are progress."""
    try:
        member = _member()
        untrusted = json_lines.read_request(sys.stdin.buffer)
        action = _ACTIONS.get(str(untrusted.pop("action", "")))
        if action is None:
            raise UsageError(_("the action must be one of {actions}", actions=", ".join(sorted(_ACTIONS))))
        json_lines.write_line({"ok": True, **action(member, untrusted)})
    except FamilyError as error:
        json_lines.write_line(json_lines.error_answer(error))
        # SudoSpawner of the package sudospawner takes any other status for a broken mediator and drops the reason.
        return 0
    return 0


def _member() -> pwd.struct_passwd:
    """The account this process runs as; raise PermissionRefused unless it is a member's, now."""
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        raise PermissionRefused(_("this process belongs to no account")) from None
    if os.getuid() != os.geteuid() or not accounts.is_member(account):
        raise PermissionRefused(
            _("{name} is not a member", name=account.pw_name),
            _("add the account: {command}", command=f"jupyterhub4family members add {account.pw_name}"),
        )
    os.umask(0o022)
    return account


def _prepare(member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"thorough": bool}, ())

    def tell(percent: int, message: str) -> None:
        json_lines.write_line({"percent": percent, "message": message})

    done = environment.prepare(member, tell, untrusted.get("thorough", False))
    return {"done": done, "template": environment.made_from(member)}


def _spawn(member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"args": list, "env": dict}, ("args", "env"))
    started = server.spawn(member, untrusted["args"], untrusted["env"])
    return {"pid": started.pid, "start_time": started.start_time}


def _kill(_member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"pid": int, "signal": int, "start_time": int}, ("pid", "signal"))
    alive = server.kill(untrusted["pid"], untrusted["signal"], untrusted.get("start_time", 0))
    return {"alive": alive}


def _end(member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"pid": int, "start_time": int}, ("pid", "start_time"))
    return {"ended": limit_server.end_all(member.pw_uid, untrusted["pid"], untrusted["start_time"])}


def _killed(member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"name": str, "count": int}, ("name", "count"))
    server.record_killed(member, untrusted["name"], untrusted["count"])
    return {}


def _log(member: pwd.struct_passwd, untrusted: Mapping[str, Any]) -> dict[str, Any]:
    json_lines.only_keys(untrusted, {"name": str}, ())
    return {"lines": server.last_log_lines(member, untrusted.get("name", ""))}


_ACTIONS: dict[str, Callable[[pwd.struct_passwd, Mapping[str, Any]], dict[str, Any]]] = {
    "prepare": _prepare,
    "spawn": _spawn,
    "kill": _kill,
    "end": _end,
    "killed": _killed,
    "log": _log,
}


if __name__ == "__main__":
    sys.exit(main())
