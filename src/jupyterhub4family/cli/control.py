"""Runs as the caller, who must be root: `start`, `stop`, `restart`."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.state import supervision

#: cron writes its pid here (cron(8) of Debian).
CRON_PID = Path("/run/crond.pid")


def add_to(commands: Any) -> None:
    """Add these commands to the command line."""
    start = commands.add_parser("start", help=_("start hub and proxy"))
    stop = commands.add_parser("stop", help=_("stop hub and proxy; members' running servers keep running"))
    stop.add_argument("--servers", action="store_true", help=_("stop the members' servers, too"))
    restart = commands.add_parser("restart", help=_("restart the hub; open notebooks keep working"))
    restart.add_argument("--all", action="store_true", help=_("restart the proxy, too"))
    terminal.add_yes(stop)
    terminal.add_dry_run(stop)
    for one in (start, stop, restart):
        terminal.add_quiet(one)
    start.set_defaults(run=_start)
    stop.set_defaults(run=_stop)
    restart.set_defaults(run=_restart)


def _start(arguments: argparse.Namespace) -> int:
    with terminal.waiting(arguments, _("JupyterHub is being started")):
        _control("start")
    terminal.report(arguments, _("JupyterHub is starting; see: {command}", command="jupyterhub4family status"))
    if supervision.chosen_supervisor() == supervision.CRON and not _cron_runs():
        print(_("Note: neither systemd nor cron runs here, so nobody restarts JupyterHub after a reboot or a crash."))
        print(_("Install and start cron, or run this command at every boot."))
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    if arguments.dry_run:
        print(_("Hub and proxy would be stopped"))
        if arguments.servers:
            print(_("The servers of all members would be stopped; what is not saved there would be lost"))
        return 0
    if arguments.servers and os.geteuid() == 0:
        terminal.confirmed(arguments, _("Stop the servers of all members, too? What is not saved there is lost."))
    with terminal.waiting(arguments, _("JupyterHub is being stopped")):
        _control("stop", *(["--servers"] if arguments.servers else []))
    if arguments.servers:
        terminal.report(arguments, _("JupyterHub is stopped, and so are the members' servers"))
    else:
        terminal.report(arguments, _("JupyterHub is stopped"))
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    with terminal.waiting(arguments, _("JupyterHub is being restarted")):
        _control("restart", *(["--all"] if arguments.all else []))
    terminal.report(arguments, _("JupyterHub is restarting; see: {command}", command="jupyterhub4family status"))
    return 0


def _control(*args: str) -> None:
    if os.geteuid() != 0:
        raise PermissionRefused(_("only root may do this"), f"sudo jupyterhub4family {' '.join(args)}")
    calling.call(service_programs.control(*args), Nothing())


def _cron_runs() -> bool:
    try:
        pid = int(CRON_PID.read_text("ascii"))
    except (OSError, ValueError):
        return False
    return shutil.which("cron", path="/usr/sbin") is not None and Path(f"/proc/{pid}").exists()
