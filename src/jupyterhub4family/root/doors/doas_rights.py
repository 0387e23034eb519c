"""Runs as root, inside doors: what /etc/doas.conf lets an account do (package opendoas, doas.conf(5)).

The rules stand in one file of a simple grammar, and the last one that matches decides. doas itself cannot be asked in
general: `doas -C` tells of one command and one target, as the caller.
"""

from __future__ import annotations

import pwd
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Optional

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.doors import database, known_names, one_look
from jupyterhub4family.root.doors.sudo_rights import Judge

DOAS_CONF = Path("/etc/doas.conf")
_OPTIONS = frozenset(("nopass", "nolog", "persist", "keepenv"))
#: A word, with quotes and backslashes in it; a brace; a comment.
_TOKEN = patterns.compiled(r'\s*(?:(?P<comment>#.*)|(?P<brace>[{}])|(?P<word>(?:"(?:\\.|[^"\\])*"|\\.|[^\s{}"\\#])+))')


class UnreadableRules(FamilyError):
    """A line that doas.conf(5) does not know."""


@records.dataclass(frozen=True)
class Rule:
    """One line of doas.conf."""

    permit: bool
    identity: str
    #: As whom; empty: as anybody.
    target: str = ""
    #: Whether it is about one command only.
    command: bool = False


def ways(account: pwd.struct_passwd, judge: Judge) -> Iterator[Message]:
    """Sentences for those rules of doas by which `account` acts as somebody it must not act as."""
    text = _text()
    if text is None:
        return
    try:
        rules = parse(text)
    except UnreadableRules as error:
        yield _("{file} is not understood: {line}", file=str(DOAS_CONF), line=error.message)
        return
    for rule in _permitted(account, rules):
        target = known_names.find_account(rule.target or "root")
        if target is None or target.pw_uid == account.pw_uid:
            continue
        if target.pw_uid == 0:
            yield _("{file} lets it be root", file=str(DOAS_CONF))
            continue
        never = accounts.never_a_member(target)
        if reason := never.message if never else judge(target):
            yield _("{file} lets it be {name} ({reason})", file=str(DOAS_CONF), name=rule.target, reason=reason)


@one_look.once
def _text() -> Optional[str]:
    """What the file says; None if there is none. Raises OSError."""
    try:
        return DOAS_CONF.read_text("utf-8", "replace")
    except FileNotFoundError:
        return None


def parse(text: str) -> list[Rule]:
    """The rules of a file. Raises UnreadableRules for the first line that is none."""
    found = []
    for line in re.sub(r"\\\n", " ", text).split("\n"):
        words = _words(line)
        if words:
            rule = _rule(words)
            if rule is None:
                raise UnreadableRules(repr(line[:80]))
            found.append(rule)
    return found


def _words(line: str) -> list[str]:
    words, place, line = [], 0, line.rstrip()
    while place < len(line):
        token = _TOKEN.match(line, place)
        if token is None:
            return ["?"]
        if token["comment"] is not None:
            break
        words.append(token["brace"] or re.sub(r'\\(.)|"', r"\1", token["word"]))
        place = token.end()
    return words


def _rule(words: Sequence[str]) -> Optional[Rule]:
    left = list(words)
    action = left.pop(0)
    while left and (left[0] in _OPTIONS or left[0] == "setenv"):
        if left.pop(0) == "setenv":
            if not left or left[0] != "{" or "}" not in left:
                return None
            del left[: left.index("}") + 1]
    if action not in ("permit", "deny") or not left or left[0] in ("{", "}", "as", "cmd"):
        return None
    identity, target = left.pop(0), ""
    if left and left[0] == "as":
        if len(left) < 2:
            return None
        target = left[1]
        del left[:2]
    if left and (left[0] != "cmd" or len(left) < 2):
        return None
    return Rule(action == "permit", identity, target, bool(left))


def _permitted(account: pwd.struct_passwd, rules: Sequence[Rule]) -> list[Rule]:
    """The permissions of `account` that no later rule takes back wholly."""
    groups = database.groups_of(account)
    found: list[Rule] = []
    for rule in rules:
        if not _is_about(rule.identity, account, groups):
            continue
        if rule.permit:
            found.append(rule)
        elif not rule.command:
            found = [one for one in found if rule.target and one.target != rule.target]
    return found


def _is_about(identity: str, account: pwd.struct_passwd, groups: Set[int]) -> bool:
    if identity.startswith(":"):
        number = known_names.group_number(identity[1:])
        return number is not None and number in groups
    return identity in (account.pw_name, str(account.pw_uid))
