"""Plain Debian root file systems, made by mmdebstrap: what a family's machine has before us.

A root is the lowest, read-only layer of every machine. It holds what Debian's installer leaves on a
small server, and nothing that our package must bring along itself (sudo, screen, python3-venv ...).
"""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from tests.machine.lib import store
from tests.machine.lib.places import PLAIN_PATH, digest, host

HOSTNAME = "familybox"

COMMON = (
    "adduser",
    "ca-certificates",
    "cron",
    "curl",
    "iproute2",
    "iputils-ping",
    "less",
    "logrotate",
    "netbase",
    "openssl",
    "passwd",
    "procps",
)
INIT = {
    "systemd": ("systemd-sysv", "dbus", "libpam-systemd"),
    "sysvinit": ("sysvinit-core", "sysv-rc", "initscripts"),
}

# $1 is the root. The machine's own certificates let apt and pip work behind a filtering proxy.
SETUP_HOOK = """
mkdir -p "$1/usr/local/share/ca-certificates"
find /usr/local/share/ca-certificates -name '*.crt' \
    -exec cp -t "$1/usr/local/share/ca-certificates" {} +
"""
CUSTOMIZE_HOOK = f"""
chroot "$1" update-ca-certificates >/dev/null 2>&1
chroot "$1" passwd -d root >/dev/null
: > "$1/etc/machine-id"
rm -f "$1/etc/resolv.conf"
echo {HOSTNAME} > "$1/etc/hostname"
echo LANG=C.UTF-8 > "$1/etc/default/locale"
printf '%s\\n' '127.0.0.1 localhost' '127.0.1.1 {HOSTNAME}' \
    '::1 localhost ip6-localhost ip6-loopback' > "$1/etc/hosts"
"""
# A container has no virtual terminals: each getty would die and be started again for ever.
SYSVINIT_HOOK = r"""
sed -i 's/^\([1-6]:[0-9]*:respawn:\)/#\1/' "$1/etc/inittab"
"""
# Debian 11's installer merges /usr; its mmdebstrap default does not.
MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh"


def root(suite: str, init: str = "systemd") -> Path:
    """Return the root of this Debian, made first if need be."""
    return store.get("roots", f"{suite}-{init}", root_key(suite, init), _Recipe(suite, init)) / "tree"


def root_key(suite: str, init: str) -> str:
    """Return the key of the recipe. The week is part of it: an old root has outdated packages."""
    week = "{}-{}".format(*datetime.date.today().isocalendar())
    return digest(week, *_command(suite, init, Path("TREE")))


class _Recipe:
    """How to build one root into a directory."""

    def __init__(self, suite: str, init: str) -> None:
        self.suite, self.init = suite, init

    def __call__(self, directory: Path) -> None:
        host(*_command(self.suite, self.init, directory / "tree"), env={**os.environ, "PATH": PLAIN_PATH})


def _command(suite: str, init: str, tree: Path) -> list[str]:
    hooks = [f"--setup-hook={SETUP_HOOK}"]
    if suite == "bullseye":
        hooks.append(f"--setup-hook={MERGED_USR}")
    hooks.append(f"--customize-hook={CUSTOMIZE_HOOK}")
    if init == "sysvinit":
        hooks.append(f"--customize-hook={SYSVINIT_HOOK}")
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(_packages(suite, init))}",
        *hooks,
        suite,
        str(tree),
    ]


def _packages(suite: str, init: str) -> tuple[str, ...]:
    # cron wants systemd's account maker; without this one apt brings all of systemd for it.
    alone = ("systemd-standalone-sysusers",)
    return COMMON + INIT[init] + (alone if init == "sysvinit" and suite != "bullseye" else ())
