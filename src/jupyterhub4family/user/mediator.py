"""Runs as the member, through sudo, called by the account `jupyterhub`: the door to a member's servers.

Reads one JSON object and does one thing as the member: `prepare` their environment, `spawn` a single-user server,
`start` one if there is nothing to prepare, begin one `ahead` that waits until it is wanted, `kill` (signal) such a
server, `end` all that one has left behind, note in its log that the kernel has `killed` one of its programs, show the
end of its `log`, say what `activity` there is in it.
It may not run anything else: the executable is fixed, the environment is built here from an allow-list. Nothing stays
behind: the server is started by a double fork and is no child of anybody.

The words `spawn` and `kill` and their answers are those of sudospawner's mediator, so its SudoSpawner drives it.
"""

from __future__ import annotations

import os
import pwd
import sys

from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import doors, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.system import accounts
from jupyterhub4family.user import environment, limit_server, server, waiting_server


def main() -> int:
    """Answer one request; the exit status is always 0."""
    return serving.serve(_member, HANDLERS)


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
    return account


def _prepare(member: pwd.struct_passwd, request: doors.Prepare) -> doors.Prepared:
    done = environment.prepare(member, serving.report, request.thorough, limit_server.require_permission)
    return doors.Prepared(done, environment.made_from(member))


def _start(member: pwd.struct_passwd, request: doors.Start) -> doors.Started:
    if not environment.is_ready(member):
        return doors.Started(False)
    started = waiting_server.take(member, request.env) or server.spawn(member, [], request.env)
    return doors.Started(True, started.pid, started.start_time, environment.made_from(member))


def _ahead(member: pwd.struct_passwd, request: doors.PrepareAhead) -> doors.PreparedAhead:
    if not environment.is_ready(member):
        return doors.PreparedAhead(False)
    return doors.PreparedAhead(waiting_server.prepare(member, request.env, request.seconds))


def _spawn(member: pwd.struct_passwd, request: doors.Spawn) -> doors.Spawned:
    started = server.spawn(member, request.args, request.env)
    return doors.Spawned(started.pid, started.start_time)


def _kill(_member: pwd.struct_passwd, request: doors.Kill) -> doors.Killed:
    return doors.Killed(server.kill(request.pid, request.signal, request.start_time))


def _end(member: pwd.struct_passwd, request: doors.End) -> doors.Ended:
    return doors.Ended(limit_server.end_all(member.pw_uid, request.pid, request.start_time))


def _killed(member: pwd.struct_passwd, request: doors.RecordKilled) -> Nothing:
    server.record_killed(member, request.name, request.count)
    return Nothing()


def _log(member: pwd.struct_passwd, request: doors.ReadLog) -> doors.LogLines:
    return doors.LogLines(server.last_log_lines(member, request.name))


def _activity(member: pwd.struct_passwd, request: doors.AskActivity) -> doors.Activity:
    # What speaks HTTP is loaded when somebody asks this, not for every start.
    from jupyterhub4family.user import server_activity

    return server_activity.activity(member.pw_uid, request.pid, request.start_time)


HANDLERS = (
    serving.on(doors.PREPARE, _prepare),
    serving.on(doors.START, _start),
    serving.on(doors.AHEAD, _ahead),
    serving.on(doors.SPAWN, _spawn),
    serving.on(doors.KILL, _kill),
    serving.on(doors.END, _end),
    serving.on(doors.KILLED, _killed),
    serving.on(doors.LOG, _log),
    serving.on(doors.ACTIVITY, _activity),
)


if __name__ == "__main__":
    sys.exit(main())
