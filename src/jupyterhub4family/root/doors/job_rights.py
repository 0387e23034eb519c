"""Runs as root, inside doors: programs that root's own jobs run and that an account may write or put another one for.

Read are jobs that the machine's owner has made: cron's, and units of systemd. A path in them counts if a program lies
there; that a folder is copied or a file is written there does not make anybody root.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import files
from jupyterhub4family.root.doors import file_rights, known_names

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
    /etc/apt/apt.conf.d /etc/update-motd.d
    """.split()
)
UNITS = Path("/etc/systemd/system")
#: Bytes of a file, and paths in one, that are looked at.
_LONGEST, _MOST = 256 * 1024, 500
_PATH = re.compile(r"""(?:^|[\s"'=:;|&(@!+<-])(/[^\s"'`;|&()<>]+)""")
_CRON = re.compile(r"\s*(?:@[a-z]+|(?:\S+\s+){4}\S+)\s+(?P<user>\S+)\s+(?P<command>.*)")
#: A word of a command that may be the name of a file in the folder in which it is run.
_FILE_THERE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./+-]*")
_UNIT = re.compile(r"\s*(?P<key>[A-Za-z]+)\s*=(?P<value>.*)")
#: What interpreters run though it may not be run by itself.
_SUFFIXES = (".sh", ".py", ".pl", ".rb", ".js", ".mjs", ".php", ".jar", ".lua")


def ways(account: pwd.struct_passwd) -> Iterator[Message]:
    """Sentences for the programs of root's jobs by which `account` becomes root."""
    groups = set(os.getgrouplist(account.pw_name, account.pw_gid))
    seen: set[str] = set()
    for text in (*_crontabs(), *_scripts(), *_units()):
        for path in _PATH.findall(text)[:_MOST]:
            if path not in seen:
                seen.add(path)
                if _may_be_anothers(Path(path), account.pw_uid, groups):
                    yield _("it can write {file}, which root trusts", file=path[:120])


def _crontabs() -> Iterator[str]:
    for line in (line for place in CRONTABS for text in _texts(place) for line in text.splitlines()):
        found = _CRON.fullmatch(line)
        if found and not line.lstrip().startswith("#"):
            account = known_names.find_account(found["user"])
            if account is not None and account.pw_uid == 0:
                yield found["command"]


def _scripts() -> Iterator[str]:
    for text in (text for place in SCRIPTS for text in _texts(place)):
        yield "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _units() -> Iterator[str]:
    """What units run as root, with what is added to them (NAME.d/*.conf)."""
    for unit in file_rights.entries(UNITS):
        if unit.suffix != ".service":
            continue
        added = [text for one in file_rights.entries(Path(f"{unit}.d")) for text in _texts(one)]
        user, directory, commands = "", "", []
        for found in filter(None, map(_UNIT.fullmatch, "\n".join([*_texts(unit), *added]).splitlines())):
            key, value = found["key"].lower(), found["value"].strip()
            if key == "user":
                user = value
            elif key == "workingdirectory":
                directory = value.lstrip("-")
            elif key.startswith("exec") or key == "environmentfile":
                commands.append(value)
        account = known_names.find_account(user or "root")
        if account is None or account.pw_uid != 0:
            # These run as root whoever the others are run as (systemd.service(5)).
            commands = [one for one in commands if re.match(r"[-@:|]*[+!]", one)]
        if directory.startswith("/"):
            texts = {word.strip("'\"") for command in commands for word in command.split()}
            words = {word for word in texts if _FILE_THERE.fullmatch(word)}
            commands += [f"{directory}/{word}" for word in sorted(words)[:_MOST]]
        yield "\n".join(commands)


def _texts(place: Path) -> Iterator[str]:
    """What a plain file says, or each in a directory; links are `file_rights`'s."""
    for file in file_rights.entries(place) or [place]:
        data = files.read_untrusted(file, _LONGEST)
        if data is not None:
            yield data.decode("utf-8", "replace")


def _may_be_anothers(path: Path, uid: int, groups: set[int]) -> bool:
    """Whether a program is meant, and this account may write it or put another one in its place."""
    if not file_rights.may_replace(path, uid, groups):
        return False
    try:
        status = os.stat(path)
    except OSError:
        # A job that was left behind: whoever may put the program there decides what it does.
        return path.suffix in _SUFFIXES
    return stat.S_ISREG(status.st_mode) and (bool(status.st_mode & 0o111) or path.suffix in _SUFFIXES)
