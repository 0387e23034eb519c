"""Runs as the caller, who must be root: `start`, `stop`, `restart`."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from jupyterhub4family.cli.base import terminal
from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, service_programs
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.state import supervision

#: cron writes its pid here (cron(8) of Debian).
CRON_PID = Path("/run/crond.pid")


def add_start(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `start`."""
    terminal.add_quiet(parser)
    parser.set_defaults(run=_start)


def add_stop(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `stop`."""
    parser.add_argument("--servers", action="store_true", help=_("stop the members' servers, too"))
    terminal.add_yes(parser)
    terminal.add_dry_run(parser)
    terminal.add_quiet(parser)
    parser.set_defaults(run=_stop)


def add_restart(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `restart`."""
    parser.add_argument("--all", action="store_true", help=_("restart the proxy, too"))
    terminal.add_quiet(parser)
    parser.set_defaults(run=_restart)


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
