"""Runs as the caller: who listens on JupyterHub's ports, and from where they can be reached."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jupyterhub4family.cli.checks.finding import Finding, Situation, fine, problem, service_account
from jupyterhub4family.common.messages import _
from jupyterhub4family.common.processes import PROC

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
#: The state LISTEN in those tables (include/net/tcp_states.h).
LISTEN = "0A"
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


@dataclass(frozen=True)
class Listener:
    """A socket that waits for connections."""

    port: int
    local_only: bool
    uid: int
    inode: str


def check_ports(situation: Situation) -> Iterator[Finding]:
    """The portal's port is the proxy's; the inner ones are the service's and not to be reached from outside."""
    settings, account = situation.settings, service_account()
    everybody = list(listeners())
    wrong = False
    for port, inner in (
        (settings.port, settings.listen == "local"),
        (settings.hub_port, True),
        (settings.proxy_api_port, True),
    ):
        for listener in (one for one in everybody if one.port == port):
            if account is None or listener.uid != account.pw_uid:
                wrong = True
                yield problem(
                    _("Port {port} is taken by {who}", port=port, who=_who(listener)),
                    _("end that program, or choose another port in /etc/jupyterhub4family/config.yaml"),
                )
            elif inner and not listener.local_only:
                wrong = True
                yield problem(
                    _("Port {port} can be reached from other computers and must not be", port=port),
                    _("sudo jupyterhub4family restart --all"),
                )
    if not wrong:
        yield fine(_("JupyterHub's ports are its own"))


def listeners() -> Iterator[Listener]:
    """Every TCP socket of this machine that listens (proc_pid_net(5))."""
    for table in TABLES:
        try:
            lines = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTEN:
                address, _colon, port = fields[1].partition(":")
                yield Listener(int(port, 16), address in LOOPBACK, int(fields[7]), fields[9])


def _who(listener: Listener) -> str:
    """The program, if it can be seen, and its account."""
    try:
        name = pwd.getpwuid(listener.uid).pw_name
    except KeyError:
        name = str(listener.uid)
    program = _program(f"socket:[{listener.inode}]")
    return _("{program} of {name}", program=program, name=name) if program else _("a program of {name}", name=name)


def _program(socket_link: str) -> str:
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            with os.scandir(entry / "fd") as descriptors:
                if any(os.readlink(one.path) == socket_link for one in descriptors):
                    return (entry / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return ""
