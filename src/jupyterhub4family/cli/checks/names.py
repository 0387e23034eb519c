"""Runs as the caller: whether this computer's names lead to it, here and for others at home."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.checks.finding import Finding, Situation, fine, warning
from jupyterhub4family.common.messages import _
from jupyterhub4family.common.programs import run

#: There while avahi runs.
AVAHI = Path("/run/avahi-daemon/pid")


def check_names(situation: Situation) -> Iterator[Finding]:
    """The host's name is known to itself; others find `<host>.local` where avahi runs."""
    name = socket.gethostname()
    # getent asks as every program does, and can be given up on: a DNS that does not answer takes long.
    resolved = run(["/usr/bin/timeout", "10", "/usr/bin/getent", "hosts", name], check=False)
    if resolved.status != 0:
        yield warning(
            _("This computer does not know its own name ({name})", name=name),
            _("add a line to /etc/hosts: 127.0.1.1 {name}", name=name),
        )
    else:
        yield fine(_("This computer knows its own name ({name})", name=name))
    if situation.settings.listen != "lan":
        return
    if name in ("localhost", "debian"):
        yield warning(
            _("This computer's name is {name}, which others at home may have, too", name=name),
            _("give it one of its own: sudo hostnamectl set-hostname familybox"),
        )
    if AVAHI.exists():
        yield fine(_("avahi announces {name}.local at home", name=name))
    else:
        yield warning(
            _("avahi does not run, so {name}.local does not lead here; the address with numbers does", name=name),
            _("sudo apt-get install avahi-daemon"),
        )
