"""Runs as the caller: `support` packs what helpers need to know about this machine into one archive.

It holds no secrets, no notebooks and no names of members (cli/support/redaction.py), and can be read before it is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from jupyterhub4family import __version__
from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base.terminal import Bar
from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.doctor.base.finding import CheckContext
from jupyterhub4family.cli.support.redaction import Redaction
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import accounts, programs

#: Lines of each log; characters of each text, from its end.
LINES, LARGEST = 2000, 2**20
#: Text: the programs whose output it holds.
PROGRAMS: dict[str, list[list[str]]] = {
    "machine.txt": [
        ["uname", "-a"],
        ["cat", "/etc/os-release"],
        ["uptime"],
        ["free", "-m"],
        ["df", "-h"],
        ["df", "-i"],
        ["cat", "/etc/default/locale"],
        ["/usr/bin/python3", "--version"],
        ["systemd-detect-virt"],
    ],
    "packages.txt": [
        ["dpkg-query", "-W", "jupyterhub4family*", "python3", "sudo", "systemd", "screen", "cron", "libpam-modules"],
        ["dpkg-query", "-W", "python3-yaml", "python3-cryptography", "avahi-daemon", "openssl"],
    ],
    "processes.txt": [
        ["ps", "-u", accounts.SERVICE_ACCOUNT, "-o", "pid,ppid,etimes,rss,stat,args"],
        ["ss", "-ltn"],
        ["crontab", "-u", accounts.SERVICE_ACCOUNT, "-l"],
    ],
    "accounts.txt": [
        ["getent", "passwd", accounts.SERVICE_ACCOUNT],
        ["id", accounts.SERVICE_ACCOUNT],
        [
            "ls",
            "-la",
            "/usr/lib/jupyterhub4family",
            "/var/lib/jupyterhub4family",
            "/etc/sudoers.d",
            "/etc/jupyterhub4family",
        ],
        ["cat", "/etc/pam.d/jupyterhub4family"],
    ],
}
UNIT_PROGRAMS = {
    "units.txt": [
        ["systemctl", "status", "--no-pager", "--lines=0", *supervision.UNITS],
        ["systemctl", "cat", "--no-pager", *supervision.UNITS],
    ],
    **{
        f"journal-{unit.partition('.')[0].rpartition('-')[2]}.txt": [
            ["journalctl", "--no-pager", "--quiet", "--lines", str(LINES), "--output=short-iso", "--unit", unit]
        ]
        for unit in supervision.UNITS
    },
}
README = """What is in this archive: versions, settings, the findings of "jupyterhub4family doctor", the ends of
the logs, units, disk and memory of a computer with jupyterhub4family {version}. Taken out: passwords, tokens, keys,
cookies, notebooks and files, names of members (member1, member2 ...) and of the computer. Read it before you send it.
"""


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    text = _("pack what helpers need to know into an archive, without secrets or names")
    commands.add_parser("support", help=text).set_defaults(run=support)


def support(_arguments: argparse.Namespace) -> int:
    """Write the archive into the current folder and say where it is."""
    bar = doctor.progress_bar()
    identities = [(account.pw_name, account.pw_gecos.split(",")[0]) for account in membership.accounts_in_group()]
    redaction = Redaction(identities, socket.gethostname())
    name = time.strftime("jupyterhub4family-support-%Y%m%d-%H%M%S")
    path = Path.cwd() / f"{name}.tar.gz"
    with _new_file(path) as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for title, text in texts(bar):
                _add(archive, f"{name}/{title}", redaction.clean(text[-LARGEST:]))
        _give_to_caller(file.fileno())
    bar.end()
    print(_("Written: {path}", path=path))
    print(
        _("It contains no passwords, no keys and no names of members. Look through it before you send it to anybody.")
    )
    if os.geteuid() != 0:
        print(_("Root sees more: sudo jupyterhub4family support"))
    return 0


def texts(bar: Bar) -> Iterator[tuple[str, str]]:
    """Title and text of everything that goes into the archive, not yet redacted."""
    yield "README.txt", README.format(version=__version__)
    found = [one.as_json() for one in doctor.examine(bar)]
    yield "doctor.json", json.dumps(found, indent=1, ensure_ascii=False)
    programs = {**PROGRAMS, **(UNIT_PROGRAMS if supervision.SYSTEMD_RUNS.is_dir() else {})}
    for number, (title, commands) in enumerate(programs.items()):
        bar.show(100 * number // len(programs), title)
        yield title, "\n".join(map(_output, commands))
    for file in (paths.SETTINGS_FILE, *_files(paths.EXPERT_DIRECTORY, "*.py")):
        yield f"settings/{file.name}", _content(file)
    for name in ("hub.log", "proxy.log"):
        # As the service account: root follows no link of its making.
        yield (
            f"log/{name}",
            _output([*CheckContext().as_service(), "tail", "-n", str(LINES), str(paths.SERVICE_LOGS / name)]),
        )
    for title, directory in (("release", paths.CURRENT_RELEASE), ("template", paths.CURRENT_TEMPLATE)):
        yield f"{title}.txt", "\n".join([str(_target(directory)), *sorted(_installed(directory))]) + "\n"


def _output(args: list[str]) -> str:
    """What a program prints, under its own words."""
    try:
        done = programs.run(args, check=False, timeout=30)
        shown = done.stdout + done.stderr
    except FamilyError as error:
        shown = error.message + "\n"
    return f"$ {' '.join(args)}\n{shown}"


def _files(directory: Path, pattern: str) -> list[Path]:
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def _content(file: Path) -> str:
    """The end of a regular file. A link is not followed: the service could let one lead anywhere."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as opened:
            opened.seek(max(0, os.fstat(descriptor).st_size - LARGEST))
            return opened.read(LARGEST).decode("utf-8", "replace")
    except OSError as error:
        return f"({error.strerror})\n"


def _target(directory: Path) -> str:
    try:
        return os.readlink(directory)
    except OSError:
        return "(none)"


def _installed(directory: Path) -> Iterator[str]:
    for info in directory.glob("*/lib/python3*/site-packages/*.dist-info"):
        yield info.name[: -len(".dist-info")].replace("-", " ")


def _new_file(path: Path) -> IO[bytes]:
    """A new file that only its owner can read. Raises FamilyError."""
    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
    except OSError as error:
        raise FamilyError(
            _("{path} cannot be written: {reason}", path=path, reason=error.strerror or "?"),
            _("change to a folder of your own first: cd"),
        ) from error


def _give_to_caller(descriptor: int) -> None:
    """Who called sudo shall be able to attach it to a mail."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError, ValueError, OSError):
            os.fchown(descriptor, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8")
    about = tarfile.TarInfo(name)
    about.size, about.mode, about.mtime = len(data), 0o600, int(time.time())
    archive.addfile(about, io.BytesIO(data))
