"""Runs as the caller: whether this computer's names lead to it, here and for others at home."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, warning
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.system import network, programs


def check_names(context: CheckContext) -> Iterator[Finding]:
    """The host's name is known to itself; others find `<host>.local` where avahi runs."""
    name = socket.gethostname()
    # getent asks as every program does, and can be given up on: a DNS that does not answer takes long.
    resolved = programs.run(["/usr/bin/timeout", "10", "/usr/bin/getent", "hosts", name], check=False)
    if resolved.returncode != 0:
        yield warning(
            _("This computer does not know its own name ({name})", name=name),
            _("add a line to /etc/hosts: 127.0.1.1 {name}", name=name),
        )
    else:
        yield fine(_("This computer knows its own name ({name})", name=name))
    if context.settings.listen != "lan":
        return
    if name in ("localhost", "debian"):
        yield warning(
            _("This computer's name is {name}, which others at home may have, too", name=name),
            _("give it one of its own: sudo hostnamectl set-hostname familybox"),
        )
    if network.local_name():
        yield _announced(network.local_name(), network.announced_name())


def _announced(wanted: str, announced: str) -> Finding:
    if announced == wanted:
        return fine(_("avahi announces {name} at home", name=wanted))
    if not announced:
        return warning(
            _("avahi is not running, so {name} does not lead here; the numeric address does", name=wanted),
            _("sudo apt-get install avahi-daemon"),
        )
    own, other = wanted[: -len(".local")], announced[: -len(".local")]
    if re.fullmatch(re.escape(own) + r"-[0-9]+", other):
        # No address of ours: which of the two gets the number is decided anew each time they start.
        return warning(
            _("another device at home is called {name}, too, and {wanted} leads to that one", name=own, wanted=wanted),
            _("give this computer a name of its own: sudo hostnamectl set-hostname familybox"),
        )
    return warning(
        _("avahi announces another name, {announced}, so {name} does not lead here", announced=announced, name=wanted),
        _("sudo service avahi-daemon restart"),
    )


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "names": Check(N_("names of this computer"), check_names),
}
