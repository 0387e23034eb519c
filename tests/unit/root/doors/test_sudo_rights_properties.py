"""root.sudo_rights: no combination of tags, users and commands hides a command that root would run."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.root.doors.sudo_rights import root_commands
from tests.unit.properties import thorough

USERS = st.lists(
    st.sampled_from(["root", "ALL", "#0", "bob", "%kids", "!root", "#1001", "+net"]), min_size=1, max_size=4
)
GROUPS = st.sampled_from(["", " : ALL", " : adm", " : root, adm"])
TAGS = st.lists(st.sampled_from(["NOPASSWD:", "PASSWD:", "SETENV:", "NOSETENV:", "LOG_INPUT:", "NOEXEC:"]), max_size=3)
DOORS = ["/usr/lib/jupyterhub4family/members", '/usr/lib/jupyterhub4family/mediator ""']
FOREIGN = [
    "ALL",
    "/bin/sh",
    "sudoedit /etc/shadow",
    "!/bin/su",
    "/usr/lib/jupyterhub4familyx/y",
    "sha224:abc= /bin/ls",
    "list",
]
COMMANDS = st.lists(st.tuples(TAGS, st.sampled_from(DOORS + FOREIGN)), min_size=1, max_size=4)


@thorough
@given(USERS, GROUPS, COMMANDS)
def test_a_rule_is_reported_exactly_when_root_would_run_something_foreign(
    users: list[str], groups: str, commands: list[tuple[list[str], str]]
) -> None:
    shown = ", ".join(" ".join([*tags, command]) for tags, command in commands)
    found = root_commands(
        f"User anna may run the following commands on elm:\n    ({', '.join(users)}{groups}) {shown}\n"
    )
    foreign = [command for _, command in commands if command in FOREIGN]
    if {"root", "ALL", "#0"} & set(users) and foreign:
        assert found == [", ".join(foreign)]
    else:
        assert found == []


@thorough
@given(st.text())
def test_any_listing_is_read(listing: str) -> None:
    assert all(isinstance(command, str) for command in root_commands(listing))
