"""Runs as the caller: `status` prints what is running, where the portal is, and what to do next."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict

from jupyterhub4family.cli.base import snapshot, terminal
from jupyterhub4family.cli.base.snapshot import Status
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import N_, _, decimal, joined
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import backup
from jupyterhub4family.common.system import programs

#: Makes a code that phones read, of characters (package qrencode, which ours depends on).
QRENCODE = "/usr/bin/qrencode"
#: Lines that the code needs, with what stands above it.
QR_LINES = 40


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--json", action="store_true", help=_("as JSON"))
    parser.add_argument("--qr", action="store_true", help=_("show a code that phones can read, even in a small window"))
    parser.set_defaults(run=status)


def status(arguments: argparse.Namespace) -> int:
    """Print the status; exit status 0 if people can log in, else 6, or 8 if the settings file is bad."""
    settings, problem = effective.settings_in_use()
    now = snapshot.take_snapshot(settings)
    if arguments.json:
        print(json.dumps(asdict(now), indent=1))
    else:
        _print(now, arguments.qr or _fits_code())
    if problem is not None:
        # The last good settings are in use; whoever changed the file has to know that it is not.
        raise effective.explain(problem)
    return ExitStatus.OK if now.portal == "running" else ExitStatus.NOT_RUNNING


_MESSAGES = {
    "running": N_("JupyterHub is running. Open it in a browser:"),
    "setting up": N_("JupyterHub is being set up; the page shows the progress:"),
    "starting": N_("JupyterHub is starting. In a moment it will answer at:"),
    "not running": N_("JupyterHub is not running."),
    "taken": N_("Something else answers on JupyterHub's port."),
}


def _print(now: Status, with_code: bool = False) -> None:
    print(_(_MESSAGES[now.portal]))
    answers = now.portal in ("running", "setting up", "starting")
    if answers:
        for number, address in enumerate(now.addresses, 1):
            here = "   " + _("(on this computer only)") if number == len(now.addresses) else ""
            print(f"  {address}{here}")
        _print_trust(now)
    if now.setup.get("message"):
        word = _("Problem") if now.setup.get("failed") else f"{now.setup.get('percent', 0)} %"
        print(f"{word}: {now.setup['message']}")
        if now.setup.get("hint"):
            print(_("Try: {hint}", hint=now.setup["hint"]))
    _print_use(now)
    if now.backup:
        print(backup.describe(backup.read_state()))
    if now.allowed_administrators:
        names = ", ".join(now.allowed_administrators)
        print(_("Members who may become root, as root has allowed: {names}", names=names))
    for problem in now.troubles:
        print(_("Settings: {problem}", problem=problem))
    for message in filter(None, (now.upgrade, now.failed_upgrade, now.mended_database)):
        print(message)
    if answers and with_code:
        terminal.print_parts(terminal.Ours(code(now.trust or now.addresses[0])), end="")
    if now.next:
        print(_("Next: {what}", what=now.next) if answers else _("Try: {hint}", hint=now.next))
    print(_("Version {version}, kept running by {supervisor}.", version=now.version, supervisor=now.supervisor))


def _print_trust(now: Status) -> None:
    if now.trust:
        print(_("Once on each new phone or computer, so that it trusts these pages:"))
        print(f"  {now.trust}")
    if now.fingerprint:
        print(_("Fingerprint of the family's certificate, to compare with what it shows there:"))
        half = len(now.fingerprint) // 2
        print(f"  {now.fingerprint[: half + 1]}\n  {now.fingerprint[half + 1 :]}")


def _print_use(now: Status) -> None:
    """What servers use, and how much room is left if that is little."""
    width = max((len(one.member) for one in now.servers), default=0)
    for one in now.servers:
        use = []
        if one.megabytes is not None and one.limit_megabytes is not None:
            use.append(_("{used} of {limit} MB of memory", used=one.megabytes, limit=one.limit_megabytes))
        elif one.megabytes is not None:
            use.append(_("{used} MB of memory", used=one.megabytes))
        if one.processor_seconds is not None:
            use.append(_("{minutes} min of CPU time", minutes=decimal(one.processor_seconds / 60)))
        if not one.confined:
            use.append(_("no limits"))
        if use:
            print(_("Server of {name}: {use}", name=f"{one.member:{width}}", use=joined(use)))
    for directory, left in now.disk.items():
        print(_("The disk is nearly full: {left} MB are left at {directory}.", left=left, directory=directory))


def _fits_code() -> bool:
    """Whether a code would fit on the terminal without pushing everything else away."""
    return sys.stdout.isatty() and shutil.get_terminal_size().lines >= QR_LINES


def code(address: str) -> str:
    """A code of characters that leads a phone to `address`; empty if it cannot be made."""
    try:
        return programs.run([QRENCODE, "-t", "ANSIUTF8" if sys.stdout.isatty() else "UTF8", "-m", "2", address]).stdout
    except FamilyError:
        return ""
