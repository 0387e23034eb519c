"""Runs as root, inside doors: whom PAM trusts without root's password, and to whom it gives groups or capabilities.

pam_wheel(8), pam_succeed_if(8), pam_listfile(8), pam_permit(8), pam_group(8), pam_cap(8); in included files, too.
"""

from __future__ import annotations

import fnmatch
import operator
import pwd
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Callable

from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import files
from jupyterhub4family.root.doors import database, known_names, one_look

PAM_DIRECTORY = Path("/etc/pam.d")
CAPABILITIES = Path("/etc/security/capability.conf")
GROUPS = Path("/etc/security/group.conf")
#: The services by which one account becomes another (login and sshd have the other's password for that).
SERVICES = ("su", "su-l", "common-auth", "sudo", "sudo-i", "doas", "polkit-1", "runuser", "other")
#: Capabilities that lead to no file, process or memory of root's (capabilities(7)).
HARMLESS = frozenset(
    "cap_net_bind_service cap_net_raw cap_net_broadcast cap_sys_nice cap_ipc_lock cap_wake_alarm cap_block_suspend "
    "cap_lease cap_kill cap_sys_resource cap_sys_time none".split()
)
#: Modules that trust somebody without a password, by what follows them.
_TRUSTING = frozenset(("pam_permit.so", "pam_wheel.so", "pam_listfile.so", "pam_succeed_if.so"))
#: Files that include each other; more than any machine has.
_DEEPEST = 8
#: Bytes of a list of names.
_LONGEST_LIST = 256 * 1024
#: Words of pam_succeed_if that are no conditions.
_FLAGS = frozenset(("use_uid", "debug", "audit", "quiet", "quiet_fail", "quiet_success"))
_COMPARED = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def ways(account: pwd.struct_passwd) -> Iterator[Message]:
    """Sentences for the files by which PAM makes `account` root, or gives it a part of root's power."""
    groups = database.groups_of(account)
    for file, words in _trusting():
        if _trusts(words, account, groups):
            yield _("{file} lets it become root ({line})", file=str(file), line=" ".join(words)[:120])
    modules = _modules()
    if "pam_cap.so" in modules:
        yield from _capabilities(account, groups)
    if "pam_group.so" in modules:
        yield from _groups_at_login(account, groups)


@one_look.once
def _trusting() -> list[tuple[Path, list[str]]]:
    """The lines of all services that trust somebody or other."""
    seen: set[Path] = set()
    lines = (line for service in SERVICES for line in _with_included(PAM_DIRECTORY / service, seen))
    return [(file, words) for file, words in lines if _is_trusting(words)]


@one_look.once
def _modules() -> frozenset[str]:
    """All words of PAM's files, without the folders of modules."""
    words = (word for file in _files(PAM_DIRECTORY) for line in _lines(file) for word in line)
    return frozenset(word.rpartition("/")[2] for word in words)


def _with_included(file: Path, seen: set[Path], deep: int = 0) -> Iterator[tuple[Path, list[str]]]:
    """The lines of a file of PAM's, and of those that it includes, each file once."""
    if file in seen or deep > _DEEPEST:
        return
    seen.add(file)
    for words in _lines(file):
        included = (
            words[1:2] if words[0] == "@include" else words[2:3] if words[1:2] in (["include"], ["substack"]) else []
        )
        if included:
            yield from _with_included(PAM_DIRECTORY / included[0], seen, deep + 1)
        else:
            yield file, words


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(file for file in directory.iterdir() if file.is_file())
    except OSError:
        return []


@one_look.once
def _lines(file: Path) -> list[list[str]]:
    """The lines of a file of PAM's, as words (pam.d(5)): without comments, continued ones put together."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return []
    lines = re.sub(r"\\\n", " ", text).split("\n")
    return [words for words in (line.split("#")[0].split() for line in lines) if words]


def _is_trusting(words: list[str]) -> bool:
    """Whether a line can let somebody in: one that is required only keeps others out."""
    if words[0].lstrip("-") != "auth" or words[1:2] in (["required"], ["requisite"]):
        return False
    return any(word.rpartition("/")[2] in _TRUSTING for word in words)


def _trusts(words: list[str], account: pwd.struct_passwd, groups: Set[int]) -> bool:
    """Whether such a line lets `account` in without asking for the password of whoever it wants to be."""
    modules: dict[str, Callable[[list[str]], bool]] = {
        # Behind others it only ends a stack: there it is required.
        "pam_permit.so": lambda _arguments: True,
        "pam_wheel.so": lambda given: "trust" in given and "deny" not in given and _wheel(given) in groups,
        "pam_listfile.so": lambda given: {"item=ruser", "sense=allow"} <= {*given} and _is_listed(given, account),
        "pam_succeed_if.so": lambda given: _succeeds(given, account, groups),
    }
    names = [word.rpartition("/")[2] for word in words]
    return any(trusts(words[names.index(name) + 1 :]) for name, trusts in modules.items() if name in names)


def _is_listed(words: list[str], account: pwd.struct_passwd) -> bool:
    """Whether the file of a line of pam_listfile has the account's name; wherever that file lies."""
    name = next((word[len("file=") :] for word in words if word.startswith("file=")), "")
    data = files.read_untrusted(Path(name), _LONGEST_LIST)
    return data is not None and account.pw_name in data.decode("utf-8", "replace").split()


def _succeeds(words: list[str], account: pwd.struct_passwd, groups: Set[int]) -> bool:
    """Whether all conditions of pam_succeed_if hold for `account` as the one who calls."""
    conditions = [word for word in words if word not in _FLAGS]
    threes = [conditions[start : start + 3] for start in range(0, len(conditions), 3)]
    # Without `use_uid` it is about whom the account wants to be, but for what PAM knows of the caller.
    about = [one for one in threes if "use_uid" in words or one[0] == "ruser"]
    return bool(about) and all(_holds(one, account, groups) for one in about)


def _holds(condition: Sequence[str], account: pwd.struct_passwd, groups: Set[int]) -> bool:
    """Whether one condition holds; what is not understood does."""
    if len(condition) != 3:
        return True
    field, how, value = condition
    values = value.split(":")
    if how in ("ingroup", "notingroup"):
        return bool({known_names.group_number(one) for one in values} & groups) is (how == "ingroup")
    own = {"user": account.pw_name, "ruser": account.pw_name, "uid": str(account.pw_uid), "gid": str(account.pw_gid)}
    own |= {"shell": account.pw_shell, "home": account.pw_dir}
    text = own.get(field)
    if text is None:
        return True
    judged = {
        "in": text in values,
        "notin": text not in values,
        "=~": fnmatch.fnmatchcase(text, value),
        "!~": not fnmatch.fnmatchcase(text, value),
    }
    return judged[how] if how in judged else _compares(text, how, value)


def _compares(text: str, how: str, value: str) -> bool:
    if how not in _COMPARED:
        return True
    if text.isdecimal() and value.isdecimal():
        return bool(_COMPARED[how](int(text), int(value)))
    return bool(_COMPARED[how](text, value))


def _wheel(words: list[str]) -> int:
    """The group that pam_wheel means: `wheel`, or number 0 where there is none."""
    name = next((word[len("group=") :] for word in words if word.startswith("group=")), "wheel")
    number = known_names.group_number(name)
    return 0 if number is None else number


def _capabilities(account: pwd.struct_passwd, groups: Set[int]) -> Iterator[Message]:
    for words in _lines(CAPABILITIES):
        given = {word.lstrip("^").lower() for word in words[0].split(",") if not word.startswith("!")}
        if not any(_is_named(name, account, groups) for name in words[1:]):
            continue
        if given - HARMLESS:
            yield _("{file} gives it {what}", file=str(CAPABILITIES), what=words[0][:120])
        # The first line that names somebody counts (capability.conf(5)).
        return


def _is_named(name: str, account: pwd.struct_passwd, groups: Set[int]) -> bool:
    if name.startswith("@"):
        return known_names.group_number(name[1:]) in groups
    return name in ("*", account.pw_name)


def _groups_at_login(account: pwd.struct_passwd, groups: Set[int]) -> Iterator[Message]:
    """Groups that are given to whoever logs in (group.conf(5)): services;terminals;users;times;groups."""
    administrators = database.administrator_group_numbers().values()
    for words in _lines(GROUPS):
        fields = " ".join(words).split(";")
        if len(fields) != 5 or not any(_is_user(one, account, groups) for one in re.split(r"[|&]", fields[2])):
            continue
        for name in re.split(r"[,\s]+", fields[4].strip()):
            number = known_names.group_number(name)
            if number in administrators and number not in groups:
                yield _("it can put itself into the group {group} ({file})", group=name, file=str(GROUPS))


def _is_user(text: str, account: pwd.struct_passwd, groups: Set[int]) -> bool:
    """Whether one of the users of group.conf is the account; netgroups may be anybody's."""
    name = text.strip()
    negated, name = name.startswith("!"), name.lstrip("!")
    if name.startswith("%"):
        found = known_names.group_number(name[1:]) in groups
    else:
        found = name.startswith("@") or fnmatch.fnmatchcase(account.pw_name, name)
    return found is not negated
