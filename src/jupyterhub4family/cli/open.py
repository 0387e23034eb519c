"""Runs as the caller: `open` shows the portal in the desktop's browser, or says its address where there is none."""

from __future__ import annotations

import argparse
import os
import shutil

from jupyterhub4family.common import portal
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.system import programs

#: Debian's way to the browser of whatever desktop there is (package xdg-utils).
XDG_OPEN = "xdg-open"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.set_defaults(run=open_portal)


def open_portal(_arguments: argparse.Namespace) -> int:
    """Become the program that opens the browser, or print the address."""
    address = portal.portal_urls(effective.settings_in_use()[0])[0]
    program = shutil.which(XDG_OPEN, path=programs.SAFE_PATH)
    # A browser of root's on somebody's desktop would be a bad idea.
    if program and _desktop() and os.geteuid() != 0:
        print(_("Opening {address}", address=address), flush=True)
        os.execve(program, [XDG_OPEN, address], dict(os.environ))
    print(address)
    return 0


def _desktop() -> bool:
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
