"""Runs as the caller: `logs [hub|proxy|MEMBER] [-f]`. Reads only what the caller may read."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from jupyterhub4family.cli.base import service_logs
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.common.system import logs as system_logs

UNITS = {"hub": supervision.HUB_UNIT, "proxy": supervision.PROXY_UNIT}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("whose", nargs="?", default="hub", metavar=_("hub|proxy|MEMBER"))
    parser.add_argument("-f", "--follow", action="store_true", help=_("keep showing new lines"))
    parser.add_argument(
        "-n",
        "--lines",
        metavar=_("LINES"),
        type=int,
        default=200,
        help=_("how many lines (default: %(default)s)"),
    )
    parser.set_defaults(run=logs)


def logs(arguments: argparse.Namespace) -> int:
    """Show the log: read here, or by a program that does so with a member's rights."""
    if arguments.whose in UNITS and supervision.chosen_supervisor() != supervision.SYSTEMD:
        _require_reader(paths.SERVICE_LOGS)
        system_logs.show([service_logs.service_log(arguments.whose)], arguments.lines, arguments.follow, _write)
        return 0
    return programs.run_attached(log_command(arguments.whose, arguments.lines, arguments.follow))


def _write(text: str) -> None:
    print(text, end="", flush=True)


def log_command(owner: str, lines: int, follow: bool) -> list[str]:
    """The program, with its arguments, that shows the log of `owner`. Raises FamilyError."""
    if owner in UNITS:
        # All of it: what a terminal must not get is taken out here, and journalctl would show none of such lines.
        end = ["--follow"] if follow else ["--no-pager"]
        return ["/usr/bin/journalctl", "--all", "--unit", UNITS[owner], "--lines", str(lines), *end]
    account = accounts.find_account(accounts.check_name(owner))
    if os.geteuid() not in (0, account.pw_uid):
        raise PermissionRefused(
            _("only {name} and root may read that log", name=account.pw_name), f"sudo jupyterhub4family logs {owner}"
        )
    # With the member's own rights: a link in their home leads root nowhere.
    args = [str(paths.LIBRARY / "show-log"), str(lines), *(["--follow"] if follow else [])]
    return args if os.geteuid() != 0 else [*programs.as_account(account.pw_name), *args]


def _require_reader(directory: Path) -> None:
    if not os.access(directory, os.R_OK | os.X_OK):
        if os.geteuid() == 0:
            raise FamilyError(_("there is no log yet"), "jupyterhub4family status")
        raise PermissionRefused(_("only root and the account jupyterhub may read that log"), _("run it with sudo"))
