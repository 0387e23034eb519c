"""Runs as the caller: who listens on JupyterHub's ports, and from where they can be reached."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import processes, sockets
from jupyterhub4family.common.system.sockets import Listener


def check_ports(context: CheckContext) -> Iterator[Finding]:
    """The portal's port is the proxy's; the inner ones are the service's and not to be reached from outside."""
    settings, account = context.settings, membership.service_account()
    everybody = list(sockets.listeners())
    wrong = False
    by_systemd = supervision.SYSTEMD_RUNS.is_dir()
    held = by_systemd and supervision.is_active(supervision.PORTS_SOCKET)
    if by_systemd and not held and not supervision.is_active(supervision.ADOPTED_UNIT):
        wrong = True
        yield problem(
            _("Nobody holds JupyterHub's ports, so another account could take one while it restarts"),
            _("sudo jupyterhub4family restart --all"),
            "start",
        )
    # What systemd holds is root's, as the kernel tells it.
    ours = {account.pw_uid if account else 0, *((0,) if held else ())}
    for port, inner in ((settings.port, settings.listen == "local"), (settings.hub_port, True)):
        for listener in (one for one in everybody if one.port == port):
            if account is None or listener.uid not in ours:
                wrong = True
                yield problem(
                    _("Port {port} is taken by {who}", port=port, who=_who(listener)),
                    _("stop that program, or choose another port in /etc/jupyterhub4family/config.yaml"),
                )
            elif inner and not listener.address.is_loopback:
                wrong = True
                yield problem(
                    _("Port {port} can be reached from other computers and must not be", port=port),
                    _("sudo jupyterhub4family restart --all"),
                )
    if not wrong:
        yield fine(_("No other program uses JupyterHub's ports"))


def _who(listener: Listener) -> str:
    """The program, if it can be seen, and its account."""
    try:
        name = pwd.getpwuid(listener.uid).pw_name
    except KeyError:
        name = str(listener.uid)
    program = _program(f"socket:[{listener.inode}]")
    return _("{program} of {name}", program=program, name=name) if program else _("a program of {name}", name=name)


def _program(socket_link: str) -> str:
    for entry in processes.PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            with os.scandir(entry / "fd") as descriptors:
                if any(os.readlink(one.path) == socket_link for one in descriptors):
                    # Whose program it is chose its name.
                    return safe_text.one_line(processes.read(int(entry.name), "comm").decode("utf-8", "replace"))
        except OSError:
            continue
    return ""


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "ports": Check(N_("ports"), check_ports),
}
