"""Runs as root, inside doors: what sudo's rules let an account do beyond our own doors, and as whom.

sudo itself is asked (`sudo -ll -U NAME`): it alone knows which rules are an account's, from whatever file, include,
alias, group, netgroup, directory service or host. What it lists are the users and groups that may be acted as; those
are resolved here, as sudo does it (sudoers(5)): the last one that matches decides.
"""

from __future__ import annotations

import contextlib
import grp
import pwd
import re
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import accounts, programs
from jupyterhub4family.common.system.programs import ProgramError
from jupyterhub4family.root.doors import database, one_look, sudo_kinds

SUDO = "/usr/bin/sudo"
#: Runs a command on a terminal (package bsdutils, which every Debian has).
SCRIPT = "/usr/bin/script"
#: Whether a person's account is one that may be acted as: why not, or None. Asked for accounts other than the caller.
Judge = Callable[[pwd.struct_passwd], Optional[Message]]

#: What stands before the rules of an account that has some, and of one that has none.
_MAY_RUN = patterns.compiled(r"User .+ may run the following commands on .+:")
_MAY_NOTHING = patterns.compiled(r"User .+ is not allowed to run sudo on .+\.")
_ENTRY = patterns.compiled(r"(?:Sudoers entry|LDAP Role|SSSD Role):(?: (?P<source>.*))?")
_ATTRIBUTE = patterns.compiled(r" {4}(?P<key>[A-Za-z]+):(?: (?P<value>.*))?")
#: One of several users, groups or options: up to a comma that is neither in quotes nor behind a backslash.
_ITEM = patterns.compiled(r'((?:"(?:\\.|[^"\\])*"|\\.|[^,\\"])+)(?:,\s*|$)')
#: As sudo prints our rules in `data/etc/sudoers.d/jupyterhub4family`: NOPASSWD and NOSETENV.
_DOOR_OPTIONS = frozenset(("!setenv", "!authenticate"))
#: Those of root's doors that are for people; the door looks itself who of them may.
_DOORS = frozenset(
    f'{door.path} ""' for door in doors.DOORS if door.runs_as == doors.ROOT and door.opened_by.startswith("%")
)
#: Characters of a rule that are told.
_SHOWN = 200


class UnreadableListing(FamilyError):
    """What sudo printed is not understood: then nobody knows what it allows."""


@records.dataclass(frozen=True)
class Rule:
    """What sudo allows an account to do, in one entry of its list."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    options: frozenset[str] = frozenset()
    #: Those that are allowed; what is denied takes nothing away that could not be had otherwise (sudoers(5)).
    commands: tuple[str, ...] = ()
    #: Anything else that is said of it: Chroot, Role, Timeout.
    more: tuple[str, ...] = ()
    #: The file, where sudo tells it (from version 1.9.16 on).
    source: str = ""

    def is_own_door(self) -> bool:
        """Whether this is one of our rules for people, exactly as it was packaged."""
        exactly = (self.users, self.groups, self.options, self.more) == (("root",), (), _DOOR_OPTIONS, ())
        return exactly and set(self.commands) <= _DOORS


def ways(account: pwd.struct_passwd, judge: Judge) -> Iterator[Message]:
    """Sentences for those rules of `account` that let it act as somebody or some group it must not act as.

    Raises ProgramError if sudo cannot be asked.
    """
    for rule in _rules_of(account):
        if rule.commands and not rule.is_own_door():
            reason = _bad_user(account, rule.users, judge) or _bad_group(account, rule.groups)
            if reason:
                yield _described(rule, reason)


def _rules_of(account: pwd.struct_passwd) -> list[Rule]:
    """The rules of `account`; in one look at many, sudo is asked about one of those that it cannot tell apart."""
    alike = sudo_kinds.kind(account) if one_look.is_at_many() else None
    name = account.pw_name
    if alike is None:
        return rules_of(name)
    asked, rules = one_look.remembered((rules_of, alike), lambda: (name, rules_of(name)))
    # Where a rule is for groups alone, sudo names whoever it was asked about as the one to act as.
    if asked != name and any(user.lstrip("!") == asked for rule in rules for user in rule.users):
        return rules_of(name)
    return rules


def rules_of(name: str) -> list[Rule]:
    """Every rule of sudo that holds for `name` on this machine. Raises ProgramError if sudo cannot be asked."""
    ask = [SUDO, "-n", "-ll", "-U", name]
    listed = programs.run(ask, check=False, timeout=30)
    try:
        return parse(listed.stdout)
    except UnreadableListing as error:
        reason = programs.last_lines(listed.stderr, 3) or error.message
    import shlex

    for other in (
        # `Defaults requiretty`: a terminal of our own; but into a pipe, so that lines are not broken.
        [SCRIPT, "-qec", f"{shlex.join(ask)} | cat", "/dev/null"],
        # `Defaults !root_sudo`: then the account has to ask itself, which members can without a password.
        [*programs.as_account(name), SUDO, "-n", "-ll"],
    ):
        with contextlib.suppress(UnreadableListing):
            return parse(programs.run(other, check=False, timeout=30).stdout)
    raise ProgramError(_("sudo could not be asked what {name} may do: {output}", name=name, output=reason))


def parse(listing: str) -> list[Rule]:
    """The rules in `listing`, the output of `sudo -ll`. Raises UnreadableListing for what is not understood."""
    lines = [line.rstrip() for line in listing.split("\n")]
    for number, line in enumerate(lines):
        if _MAY_RUN.fullmatch(line):
            return _parse_entries([line for line in lines[number + 1 :] if line])
    printed = [line for line in lines if line]
    if printed and _MAY_NOTHING.fullmatch(printed[-1]):
        return []
    raise UnreadableListing(_("sudo's answer is not understood"))


class _Entry:
    def __init__(self, source: str) -> None:
        self.source = source
        self.values: dict[str, str] = {}
        self.commands: list[str] = []

    def rule(self) -> Rule:
        more = tuple(key for key in self.values if key not in ("RunAsUsers", "RunAsGroups", "Options", "Commands"))
        return Rule(
            users=_items(self.values.get("RunAsUsers", "")),
            groups=_items(self.values.get("RunAsGroups", "")),
            options=frozenset(_items(self.values.get("Options", ""))),
            # Debian 11's sudo writes "" with backslashes.
            commands=tuple(one.replace('\\"', '"') for one in self.commands if not one.startswith("!")),
            more=more,
            source=self.source,
        )


def _parse_entries(lines: Sequence[str]) -> list[Rule]:
    entries: list[_Entry] = []
    for line in lines:
        if found := _ENTRY.fullmatch(line):
            entries.append(_Entry(found["source"] or ""))
        elif entries and line.startswith("\t") and "Commands" in entries[-1].values:
            entries[-1].commands.append(line.strip())
        elif entries and (found := _ATTRIBUTE.fullmatch(line)):
            entries[-1].values[found["key"]] = found["value"] or ""
        else:
            raise UnreadableListing(_("sudo's answer is not understood: {line}", line=repr(line[:_SHOWN])))
    if not all("RunAsUsers" in entry.values and "Commands" in entry.values for entry in entries):
        raise UnreadableListing(_("sudo's answer is not understood"))
    return [entry.rule() for entry in entries]


def _items(text: str) -> tuple[str, ...]:
    """The parts of a list. What does not look like one is one part, which then matches nobody that is known."""
    found: list[str] = []
    place = 0
    while place < len(text):
        item = _ITEM.match(text, place)
        if item is None:
            return (*found, text[place:])
        found.append(item[1].strip())
        place = item.end()
    return tuple(found)


def _described(rule: Rule, as_whom: Message) -> Message:
    commands = ", ".join(rule.commands)[:_SHOWN]
    if rule.source:
        return _("{file} lets sudo run {commands} {as_whom}", file=rule.source, commands=commands, as_whom=as_whom)
    return _("sudo allows {commands} {as_whom}", commands=commands, as_whom=as_whom)


def _bad_user(account: pwd.struct_passwd, users: Sequence[str], judge: Judge) -> Optional[Message]:
    """As whom a rule for `users` lets `account` act that it must not; None if nobody."""
    everybody = {one.pw_name: one for one in database.everybody()}
    for item in users:
        positive, name = not _is_negated(item), item.lstrip("!")
        if positive and (name.startswith(("+", "%:")) or not _is_resolved(name)):
            return _("as {name}, and who that is nobody knows here", name=name)
        # Accounts of a directory may have to be asked for by name.
        for one in filter(None, map(_by_name_or_number, _spellings(name))):
            everybody.setdefault(one.pw_name, one)
    # Root first: of all reasons it is the one that people understand at once.
    for one in sorted(everybody.values(), key=lambda one: (one.pw_uid != 0, one.pw_uid)):
        if one.pw_uid == account.pw_uid or not _matches(one, users):
            continue
        if one.pw_uid == 0:
            return _("as root") if one.pw_name == "root" else _("as {name}, which is root", name=one.pw_name)
        if refused := accounts.never_a_member(one):
            return _("as {name} ({reason})", name=one.pw_name, reason=refused.message)
        if reason := judge(one):
            return _("as {name}, who can become root ({reason})", name=one.pw_name, reason=reason)
    return None


def _is_resolved(name: str) -> bool:
    """Whether it is known who is meant: an account or a group that is there, or nobody's number."""
    if name == "ALL":
        return True
    if name.startswith("%"):
        return bool(_group_numbers(name[1:], exactly=False)) or _is_absent(_unquoted(name[1:]))
    if any(_by_name_or_number(spelling) for spelling in _spellings(name)):
        return True
    number = _number(name)
    # sudo runs nothing as a name that is not there; a number of a system account may come to be one.
    return accounts.is_ordinary_uid(number) if number is not None else _is_absent(name)


def _is_absent(name: str) -> bool:
    """Whether `name` could be an account's, and is not."""
    return bool(re.fullmatch(r"[\w.@-]+\$?", name))


def _is_negated(item: str) -> bool:
    return (len(item) - len(item.lstrip("!"))) % 2 == 1


def _spellings(name: str) -> tuple[str, ...]:
    """How the account may be called: sudo prints backslashes as they are or doubled, by its version."""
    return (name, _unquoted(name))


def _unquoted(name: str) -> str:
    """A name without the quotes and backslashes of sudoers."""
    if len(name) >= 2 and name[0] == name[-1] == '"':
        name = name[1:-1]
    return re.sub(r"\\(.)", r"\1", name)


def _number(name: str) -> Optional[int]:
    return int(name[1:]) if re.fullmatch(r"#[0-9]{1,10}", name, re.ASCII) else None


def _by_name_or_number(name: str) -> Optional[pwd.struct_passwd]:
    try:
        number = _number(name)
        return pwd.getpwnam(name) if number is None else pwd.getpwuid(number)
    except (KeyError, ValueError, OverflowError):
        return None


def _group_numbers(name: str, exactly: bool) -> set[int]:
    """The numbers of the groups of this name; sudo ignores case, unless it is told not to (case_insensitive_group)."""
    plain = _unquoted(name)
    number = _number(plain)
    if number is not None:
        return {number}
    found = {one.gr_gid for one in grp.getgrall() if _is_same(one.gr_name, plain, exactly)}
    with contextlib.suppress(KeyError, ValueError):
        # A directory may list nobody, and know who is asked for.
        found.add(grp.getgrnam(plain).gr_gid)
    return found


def _is_same(one: str, other: str, exactly: bool) -> bool:
    return one == other if exactly else one.lower() == other.lower()


def _matches(account: pwd.struct_passwd, users: Sequence[str]) -> bool:
    """Whether sudo lets a rule for `users` act as `account`: the last one that matches decides.

    Where it depends on sudo's options whether one matches, it does, and one with a `!` does not.
    """
    allowed = False
    for item in users:
        negated = _is_negated(item)
        if _names(item.lstrip("!"), account, exactly=negated):
            allowed = not negated
    return allowed


def _names(name: str, account: pwd.struct_passwd, exactly: bool) -> bool:
    if name == "ALL":
        return True
    if name.startswith("%"):
        return bool(_group_numbers(name[1:], exactly) & database.groups_of(account))
    number = _number(name)
    if number is not None:
        return account.pw_uid == number
    # By name only, as sudo does it: `!root` does not keep out another name of root's.
    return any(_is_same(account.pw_name, spelling, exactly) for spelling in _spellings(name))


def _bad_group(account: pwd.struct_passwd, groups: Sequence[str]) -> Optional[Message]:
    """In which group a rule for `groups` lets `account` act that makes it an administrator; None if in none."""
    ways_of_groups = database.administrator_group_numbers()
    allowed: set[str] = set()
    for item in groups:
        name, negated = item.lstrip("!").lstrip("%"), _is_negated(item)
        numbers = _group_numbers(name, exactly=negated)
        if not negated and not numbers and not _is_absent(_unquoted(name)):
            return _("in the group {group}, and which that is nobody knows here", group=name)
        chosen = {one for one, number in ways_of_groups.items() if name == "ALL" or number in numbers}
        allowed = allowed - chosen if negated else allowed | chosen
    own = database.groups_of(account)
    found = sorted(name for name in allowed if ways_of_groups[name] not in own)
    if not found:
        return None
    return _(
        "in the group {group}, which can become root ({reason})",
        group=found[0],
        reason=_(accounts.WAYS_OF_GROUPS[found[0]]),
    )
