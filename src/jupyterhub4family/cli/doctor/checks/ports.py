"""Runs as the caller: who listens on JupyterHub's ports, and from where they can be reached."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, problem, service_account
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.system import processes, sockets
from jupyterhub4family.common.system.sockets import Listener


def check_ports(context: CheckContext) -> Iterator[Finding]:
    """The portal's port is the proxy's; the inner ones are the service's and not to be reached from outside."""
    settings, account = context.settings, service_account()
    everybody = list(sockets.listeners())
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
                    return (entry / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue
    return ""


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "ports": Check(N_("ports"), check_ports),
}
