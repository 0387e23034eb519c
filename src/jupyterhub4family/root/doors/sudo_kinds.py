"""Runs as root, inside doors: which accounts sudo's files do not tell apart, so that one answer is true of all of them.

Its rules are not understood here (sudo_rights.py has sudo say them), only searched: an account whose name and number
stand nowhere in them gets what its groups get, and of these only those count that stand in them. Whatever could name
somebody in another way (another source, a plugin, a netgroup, a name in disguise) has every account asked about for
itself.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import patterns
from jupyterhub4family.common.system import files
from jupyterhub4family.root.doors import database, one_look

SUDOERS = Path("/etc/sudoers")
SUDO_CONF = Path("/etc/sudo.conf")
NAME_SERVICES = Path("/etc/nsswitch.conf")
#: Bytes of such a file, and files: more than any machine at home has.
_LONGEST, _MOST = 256 * 1024, 200
#: An include that is followed here: a plain path. sudo knows both spellings.
_INCLUDE = patterns.compiled(r"\s*[@#](?P<what>include|includedir)\s+(?P<path>/[\w./-]*)\s*")
#: A name in a list of users; all other characters end one.
_WORD = patterns.compiled(r"[\w.$-]+")
#: An account's or a group's number, as sudo reads it.
_NUMBER = patterns.compiled(r"#\s*([0-9]+)")
#: What names accounts without their names or numbers: netgroups, groups of plugins, negative numbers, characters
#: written as others. `+=` adds to an option.
_DISGUISED = patterns.compiled(r"\+(?!=)|%\s*:|%\"|\\|#\s*-|group_plugin")


def kind(account: pwd.struct_passwd) -> Optional[Hashable]:
    """The same for accounts that sudo cannot tell apart; None for one that has to be asked about for itself."""
    words = _words()
    if words is None or _stands_in(words, account.pw_name, account.pw_uid):
        return None
    return frozenset(gid for gid in database.groups_of(account) if _is_group_in(words, gid))


def _is_group_in(words: frozenset[str], gid: int) -> bool:
    names = database.names_of_group(gid)
    # What a group is called that is in no list nobody knows here.
    return not names or any(_stands_in(words, name, gid) for name in names)


def _stands_in(words: frozenset[str], name: str, number: int) -> bool:
    # sudo can be told to ignore case.
    return _WORD.fullmatch(name) is None or name.lower() in words or str(number) in words


@one_look.once
def _words() -> Optional[frozenset[str]]:
    """The words of sudo's rules in small letters; None if others could hold, or an account could be in disguise."""
    if not _only_files():
        return None
    texts: dict[str, str] = {}
    if not _read_into(texts, str(SUDOERS)):
        return None
    text = "\n".join(texts.values())
    if _DISGUISED.search(text):
        return None
    # Comments as well: whoever is asked about once too often has lost nothing. Numbers may begin with zeros, and so may
    # names; a number ends where its digits do.
    found = {word.lower() for word in _WORD.findall(text)} | set(_NUMBER.findall(text))
    return frozenset(found | {word.lstrip("0") for word in found if word.isdecimal()})


def _only_files() -> bool:
    """Whether sudo has its rules from its files alone: no plugin but its own, no directory service."""
    options, services = (_text(str(file)) if file.exists() else "" for file in (SUDO_CONF, NAME_SERVICES))
    if options is None or services is None:
        return False
    if any(line.strip() and not line.lstrip().startswith("#") for line in options.split("\n")):
        return False
    lines = [line.partition(":") for line in services.split("\n") if line.strip().lower().startswith("sudoers")]
    return all(sources.split() == ["files"] for _name, _colon, sources in lines)


def _text(path: str) -> Optional[str]:
    """What a file says; None if it cannot be read, or not wholly."""
    data = files.read_untrusted(Path(path), _LONGEST)
    return None if data is None or len(data) >= _LONGEST else data.decode("utf-8", "surrogateescape")


def _read_into(texts: dict[str, str], path: str) -> bool:
    """Read a file and what it includes, of a folder all files (sudo leaves some out); False if that cannot be done."""
    if path in texts:
        return True
    text = _text(path)
    if text is None or len(texts) >= _MOST:
        return False
    texts[path] = text
    for line in text.split("\n"):
        if not re.match(r"\s*[@#]\s*include", line):
            continue
        found = _INCLUDE.fullmatch(line)
        if found is None:
            return False
        if not all(_read_into(texts, one) for one in _included(found["what"], found["path"])):
            return False
    return True


def _included(what: str, path: str) -> list[str]:
    if what == "include":
        return [path]
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries)
    except FileNotFoundError:
        # sudo goes on as well.
        return []
    except OSError:
        # No folder: its name stands for a file that cannot be read.
        return [path]
