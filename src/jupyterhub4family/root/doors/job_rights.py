"""Runs as root, inside doors: programs that root's own jobs run and that an account may write or put another one for.

Read are jobs that the machine's owner has made: cron's, and units of systemd. A path in them counts if a program lies
there; that a folder is copied or a file is written there does not make anybody root.
"""

from __future__ import annotations

import itertools
import os
import pwd
import re
import stat
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Callable, Optional

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import files
from jupyterhub4family.root.doors import database, file_rights, known_names, one_look

#: With a user's name in each line (crontab(5)).
CRONTABS = (Path("/etc/crontab"), Path("/etc/cron.d"))
#: Root's own; and scripts that root runs.
SCRIPTS = tuple(
    Path(one)
    for one in """
    /var/spool/cron/crontabs/root /etc/rc.local /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly
    /etc/profile /etc/profile.d /etc/bash.bashrc /root/.bashrc /root/.profile /etc/anacrontab /etc/inittab /etc/init.d
    /etc/network/interfaces /etc/network/interfaces.d /etc/network/if-down.d /etc/network/if-post-down.d
    /etc/network/if-pre-up.d /etc/network/if-up.d /etc/NetworkManager/dispatcher.d /etc/udev/rules.d /etc/logrotate.d
    /etc/apt/apt.conf.d /etc/update-motd.d /etc/environment /etc/pam.d /etc/modprobe.d /etc/dpkg/dpkg.cfg.d
    /etc/acpi/events /etc/ppp/ip-up.d
    """.split()
)
UNITS = (Path("/etc/systemd/system"), Path("/usr/local/lib/systemd/system"))
#: Bytes of a file, and paths in one, that are looked at.
_LONGEST, _MOST = 256 * 1024, 500
_PATH = patterns.compiled(r"""(?:^|[\s"'=:;|&(@!+<-])(/[^\s"'`;|&()<>]+)""")
_CRON = patterns.compiled(r"\s*(?:@[a-z]+|(?:\S+\s+){4}\S+)\s+(?P<user>\S+)\s+(?P<command>.*)")
#: A word of a command that may be the name of a file in the folder in which it is run.
_FILE_THERE = patterns.compiled(r"[A-Za-z0-9_.][A-Za-z0-9_./+-]*")
_UNIT = patterns.compiled(r"\s*(?P<key>[A-Za-z]+)\s*=(?P<value>.*)")
#: What interpreters run though it may not be run by itself.
_SUFFIXES = (".sh", ".py", ".pl", ".rb", ".js", ".mjs", ".php", ".jar", ".lua")
#: Whatever follows one of these is run, or says what is run, however it looks.
_RUN = patterns.compiled(
    r"""(?:^|[\s/;&|(@!+-])(?:(?:ba|da|k|z|a)?sh|python[0-9.]*|perl|ruby|node|php|lua)\s+(?:-[^\s/]+\s+)*"""
    r"""["']?(?P<program>/[^\s"'`;|&()<>]+)"""
    r"""|\bcompose\s[^\n]*?(?:-f|--file)[=\s]+["']?(?P<file>/[^\s"'`;|&()<>]+)"""
)
#: Where programs are looked for.
_SEARCHED = patterns.compiled(r"""\bPATH\s*[=+]+\s*["']?(?P<places>[^\s"';]+)""")
#: In which folder what follows is run.
_ENTERED = patterns.compiled(r"""(?:^|[\s;&|(])cd\s+["']?(?P<place>/[^\s"'`;|&()<>]+)""")
#: Files of that folder that programs read unasked, and do what stands there.
_MODULE = patterns.compiled(r"\bpython[0-9.]*\s+(?:-[A-Za-z]+\s+)*-m\s+(?P<name>[A-Za-z_][\w.]*)")
_READ_THERE = (
    (patterns.compiled(r"\b(?:npm|yarn|pnpm)\b"), ("package.json",)),
    (patterns.compiled(r"\bmake\b"), ("Makefile", "makefile", "GNUmakefile")),
    (patterns.compiled(r"\bdocker[ -]compose\b"), ("compose.yaml", "compose.yml", "docker-compose.yml")),
)


@records.dataclass(frozen=True)
class _Job:
    """What root runs: a text with commands, the folder in which they are run, files that are read and obeyed."""

    text: str
    directory: str = ""
    obeyed: tuple[str, ...] = ()


def ways(account: pwd.struct_passwd) -> Iterator[Message]:
    """Sentences for the programs of root's jobs by which `account` becomes root."""
    groups = database.groups_of(account)
    seen: set[tuple[str, bool]] = set()
    entered: dict[str, bool] = {}
    looked = file_rights.looked_at()

    def may_write(directory: str) -> bool:
        if directory not in entered:
            entered[directory] = file_rights.may_replace(Path(directory), account.pw_uid, groups, looked)
        return entered[directory]

    for job, paths in _replaceable_jobs():
        for path, is_run in _paths(job, may_write) if paths is None else paths:
            if (path, is_run) not in seen:
                seen.add((path, is_run))
                if _may_be_anothers(_as_path(path), account.pw_uid, groups, is_run, looked):
                    yield _("it can write {file}, which root trusts", file=path[:120])


@one_look.once
def _as_path(text: str) -> Path:
    return Path(text)


def _paths(job: _Job, may_write: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """The paths that a job speaks of, and whether it is known of each that root runs, or obeys, what is there.

    `may_write`: whether it is worth the time to look for names in a folder that a script has entered.
    """
    for path in _PATH.findall(job.text)[:_MOST]:
        yield path, False
    for found in itertools.islice(_RUN.finditer(job.text), _MOST):
        yield found["program"] or found["file"], True
    for found in itertools.islice(_SEARCHED.finditer(job.text), _MOST):
        for place in found["places"].split(":"):
            if place.startswith("/"):
                yield place, True
    for path in job.obeyed:
        yield path, True
    directory = job.directory if job.directory.startswith("/") else ""
    # Most enter no folder, and then none of their lines need be looked at.
    for line in job.text.split("\n") if directory or "cd" in job.text else ():
        entered = _ENTERED.search(line)
        if entered:
            directory = entered["place"] if may_write(entered["place"]) else ""
        if directory:
            yield from _in(directory.rstrip("/"), line[entered.end() if entered else 0 :])


def _in(directory: str, command: str) -> Iterator[tuple[str, bool]]:
    """The same for what a command, run in a directory, calls by a name there."""
    words = {word.strip("'\"") for word in command.split()}
    for word in sorted(word for word in words if _FILE_THERE.fullmatch(word))[:_MOST]:
        yield f"{directory}/{word}", False
    for program, names in _READ_THERE:
        if program.search(command):
            for name in names:
                yield f"{directory}/{name}", True
    if module := _MODULE.search(command):
        # The folder in which it is run is looked into before all others.
        yield f"{directory}/{module['name'].split('.')[0]}.py", True


@one_look.once
def _replaceable_jobs() -> list[tuple[_Job, Optional[list[tuple[str, bool]]]]]:
    """The jobs that speak of paths which anybody but root could replace, with these: nobody need be asked about others.

    None instead of them where they are not the same for all: who may write the folder decides what is looked for there.
    """
    looked, found = file_rights.looked_at(), []
    # Many speak of the same ones.
    known: dict[str, bool] = {}
    for job in _jobs():
        entered: list[str] = []

        def is_open(place: str) -> bool:
            if place not in known:
                known[place] = file_rights.is_replaceable(place, looked)
            return known[place]

        def may_write(directory: str, entered: list[str] = entered) -> bool:
            if is_open(directory):
                entered.append(directory)
                return True
            return False

        paths = [(path, is_run) for path, is_run in _paths(job, may_write) if is_open(path)]
        if entered or paths:
            found.append((job, None if entered else paths))
    return found


def _jobs() -> list[_Job]:
    return [*_crontabs(), *_scripts(), *_units()]


def _crontabs() -> Iterator[_Job]:
    for line in (line for place in CRONTABS for text in _texts(place) for line in text.splitlines()):
        if line.lstrip().startswith("#"):
            continue
        found = _CRON.fullmatch(line)
        if found is None:
            if _SEARCHED.match(line.strip()):
                yield _Job(line)
            continue
        account = known_names.find_account(found["user"])
        if account is not None and account.pw_uid == 0:
            yield _Job(found["command"])


def _scripts() -> Iterator[_Job]:
    for text in (text for place in SCRIPTS for text in _texts(place)):
        yield _Job("\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))


def _units() -> Iterator[_Job]:
    """What units run as root, with what is added to them (NAME.d/*.conf)."""
    for unit in (unit for place in UNITS for unit in file_rights.entries(place)):
        if unit.suffix != ".service":
            continue
        added = [text for one in file_rights.entries(Path(f"{unit}.d")) for text in _texts(one)]
        # `systemctl enable /opt/x.service` makes a link.
        target = file_rights.followed(unit)
        texts = list(_texts(target)) if target is not None else []
        user, directory, commands = "", "", []
        obeyed: list[str] = []
        for found in filter(None, map(_UNIT.fullmatch, "\n".join([*texts, *added]).splitlines())):
            key, value = found["key"].lower(), found["value"].strip()
            if key == "user":
                user = value
            elif key == "workingdirectory":
                directory = value.lstrip("-")
            elif key == "environmentfile":
                obeyed.append(value.lstrip("-"))
            elif key.startswith("exec") or key == "environment":
                commands.append(value)
        account = known_names.find_account(user or "root")
        if account is None or account.pw_uid != 0:
            # These run as root whoever the others are run as (systemd.service(5)).
            commands = [one for one in commands if re.match(r"[-@:|]*[+!]", one)]
            obeyed = obeyed if commands else []
        yield _Job("\n".join(commands), directory, tuple(one for one in obeyed if one.startswith("/")))


def _texts(place: Path) -> Iterator[str]:
    """What a plain file says, or each in a directory; links are `file_rights`'s."""
    for file in file_rights.entries(place) or [place]:
        data = files.read_untrusted(file, _LONGEST)
        if data is not None:
            yield data.decode("utf-8", "replace")


def _may_be_anothers(path: Path, uid: int, groups: Set[int], is_run: bool, looked: file_rights.Looked) -> bool:
    """Whether a program is meant, and this account may write it or put another one in its place."""
    if not file_rights.may_replace(path, uid, groups, looked):
        return False
    if is_run:
        return True
    try:
        status = os.stat(path)
    except OSError:
        # A job that was left behind: whoever may put the program there decides what it does.
        return path.suffix in _SUFFIXES
    return stat.S_ISREG(status.st_mode) and (bool(status.st_mode & 0o111) or path.suffix in _SUFFIXES)
