"""Runs as the caller: `support` packs what helpers need to know about this machine into one archive.

It holds no secrets, no notebooks, no names of people and no addresses of devices (cli/support/redaction.py), and can be
read before it is sent.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pwd
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jupyterhub4family import __version__
from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.base import service_logs
from jupyterhub4family.cli.base.terminal import Bar
from jupyterhub4family.cli.doctor import command as doctor
from jupyterhub4family.cli.doctor.base.finding import CheckContext
from jupyterhub4family.cli.support.redaction import Redaction
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import accounts, files, logs, network, programs
from jupyterhub4family.common.system.logs import Log

#: Lines of each log; characters of each text, from its end, and of each line.
LINES, LARGEST, LONGEST_LINE = 2000, 2**20, 1000
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
            [
                "journalctl",
                "--all",
                "--no-pager",
                "--quiet",
                "--lines",
                str(LINES),
                "--output=short-iso",
                "--unit",
                unit,
            ]
        ]
        for unit in supervision.UNITS
    },
}
#: For find(1): the name alone.
_NAMES = ("-printf", "%f\\n")
README = """What is in this archive: versions, settings, the findings of "jupyterhub4family doctor", the ends of
the logs, units, disk and memory of a computer with jupyterhub4family {version}. Taken out: passwords, tokens, keys,
cookies, notebooks and files, names of members (member1, member2 ...), of other people (person1 ...) and of the
computer, addresses of devices (device1 at home, outside1 elsewhere). Read it before you send it.
"""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.set_defaults(run=support)


def support(_arguments: argparse.Namespace) -> int:
    """Write the archive into the current folder and say where it is."""
    bar = doctor.progress_bar()
    redaction = _redaction()
    name = time.strftime("jupyterhub4family-support-%Y%m%d-%H%M%S")
    path = Path.cwd() / f"{name}.tar.gz"
    with _new_file(path) as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for title, text in texts(bar):
                _add(archive, f"{name}/{title}", redaction.clean(_bounded(text)))
        _give_to_caller(file.fileno())
    bar.end()
    print(_("Written: {path}", path=path))
    print(_("It contains no passwords, keys, names or addresses of devices. Look through it before you send it."))
    if os.geteuid() != 0:
        print(_("Root sees more: sudo jupyterhub4family support"))
    return 0


def _bounded(text: str) -> str:
    """The end of a text, printable, without endless lines: what looks for secrets takes long over those."""
    lines = safe_text.printable(text[-LARGEST:]).split("\n")
    return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} (…)" for line in lines)


def _redaction() -> Redaction:
    members = {account.pw_name: account for account in membership.accounts_in_group()}
    others = {
        account.pw_name: account
        for account in pwd.getpwall()
        if account.pw_name not in members and accounts.is_ordinary_uid(account.pw_uid)
    }
    people = [[(one.pw_name, one.pw_gecos.split(",")[0]) for one in group.values()] for group in (members, others)]
    return Redaction(people[0], socket.gethostname(), people[1], network.lan_addresses())


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
    for name in ("hub", "proxy"):
        log = logs.end_of(service_logs.service_log(name), LINES, LARGEST)
        yield f"log/{name}.log", "(none)\n" if log is None else log
    for title, link in (("release", paths.CURRENT_RELEASE), ("template", paths.CURRENT_TEMPLATE)):
        # As the service account: root follows no link of its making.
        find = [*CheckContext().as_service(), "find", f"{link}/", "-maxdepth", "5", "-name", "*.dist-info"]
        yield f"{title}.txt", f"{files.link_name(link) or '(none)'}\n{_output([*find, *_NAMES])}"


def _output(args: list[str]) -> str:
    """The end of what a program prints, under its own words."""
    shown = bytearray()

    def take(untrusted: bytes) -> None:
        shown.extend(untrusted)
        del shown[:-LARGEST]

    problem = ""
    try:
        programs.stream(args, text_input="", timeout=30, on_stdout=take, on_stderr=take)
    except FamilyError as error:
        problem = error.message + "\n"
    return f"$ {' '.join(args)}\n{shown.decode('utf-8', 'replace')}{problem}"


def _files(directory: Path, pattern: str) -> list[Path]:
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return []


def _content(file: Path) -> str:
    """The end of a plain file of root's. A link is not followed."""
    found = logs.end_of(Log(file, file.parent), LINES, LARGEST)
    return "(no file that can be read)\n" if found is None else found


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
