"""Any identity: who may be a member although they can become root. Root writes it; whoever is root may know better.

A line is a name and a number: an account that was made anew under an old name is another one.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import files

_HEAD = """\
# Members who can become root, and whom root has let in nevertheless. Written by: jupyterhub4family members add
# --allow-administrator NAME; taken out by: jupyterhub4family members remove NAME
"""


def is_allowed(account: pwd.struct_passwd) -> bool:
    """Whether root has said that this account may be a member whatever it can become."""
    return (account.pw_name, account.pw_uid) in _read()


def is_kept() -> bool:
    """Whether it is noted at all; versions up to 0.1.0 did not."""
    return paths.ALLOWED_ADMINISTRATORS.is_file()


def names() -> list[str]:
    """The names, sorted; some may be no members, or no accounts any more."""
    return sorted(name for name, _uid in _read())


def allow(account: pwd.struct_passwd) -> None:
    """Note that root allows it. For root, under the lock of all changes of members."""
    _write({*_read(), (account.pw_name, account.pw_uid)})


def forget(name: str) -> None:
    """Take back what was noted of `name`."""
    known = _read()
    left = {entry for entry in known if entry[0] != name}
    if left != known:
        _write(left)


def write(allowed: Iterable[pwd.struct_passwd]) -> None:
    """Note these and no others."""
    _write({(account.pw_name, account.pw_uid) for account in allowed})


def _read() -> set[tuple[str, int]]:
    try:
        text = paths.ALLOWED_ADMINISTRATORS.read_text("utf-8", "replace")
    except OSError:
        return set()
    found = set()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and not line.startswith("#") and words[1].isdecimal():
            found.add((words[0], int(words[1])))
    return found


def _write(entries: set[tuple[str, int]]) -> None:
    lines = "".join(f"{name} {uid}\n" for name, uid in sorted(entries))
    files.write_atomically(paths.ALLOWED_ADMINISTRATORS, _HEAD + lines, 0o644)
