"""root.sudo_rights: whatever sudo allows beyond our own doors is resolved to who may be acted as.

The listings in tests/unit/samples/sudo-listings.json are what `sudo -ll -U ben` printed on Debian 11 (sudo 1.9.5p2), 12
(1.9.13p3) and 13 (1.9.16p2) with these rules; ben is in the groups odd (1234), jupyterhub and jupyterhub_adm there.
"""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError, as_account
from jupyterhub4family.root.doors import sudo_rights
from jupyterhub4family.root.doors.sudo_rights import Rule, UnreadableListing, parse, rules_of
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

SAMPLES: dict[str, dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).parents[2] / "samples" / "sudo-listings.json").read_text("utf-8")
)
HEAD = "User ben may run the following commands on elm:\n\n"

#: A rule, by its name among the samples, and what is said of it; None: it is fine.
EXPECTED: dict[str, Optional[str]] = {
    "plain": "/usr/bin/apt-get update, /usr/bin/apt as root",
    "all": "ALL as root",
    "noroot": "as toor, which is root",
    "uid0": "as root",
    "toor": "as toor, which is root",
    "anna": None,
    "anna_and_group": "in the group docker, which can become root",
    "group": "in the group docker",
    "gid": "in the group root",
    "groupalias": "in the group disk",
    "percent": "as papa, who can become root (because of the test)",
    "percentgid": "as papa",
    "netgroup": "as +admins, and who that is nobody knows here",
    "alias": "/bin/ls, /usr/bin/vi",
    "nested": None,
    "noRunas": "as root",
    "runasdefault": None,
    "runasdefault_user": "as root",
    "usergid": "as root",
    "useruid": "as root",
    "otherhost": None,
    "negative": "ALL as root",
    "onlyneg": None,
    "exceptme": None,
    "everybody": "as root",
    "sudoedit": "sudoedit /etc/motd as root",
    "regex": "as root",
    "digest": "/bin/ls as root",
    "digest2": "/bin/cat as root",
    "comma": r"/bin/echo a\, b\:c\=d, /bin/ls as root",
    "tags": "as root",
    "opts": "as root",
    "role": "as root",
    "quoted": "and who that is nobody knows here",
    "backslash": "and who that is nobody knows here",
    "nonunix": "as %:admins, and who that is nobody knows here",
    "setup": "/usr/lib/jupyterhub4family/setup as root",
    "doors": None,
    "doorloose": "/usr/lib/jupyterhub4family/environment as root",
    "doorsetenv": "as root",
    "doorpasswd": "as root",
    "doorseveral": "/bin/sh as root",
    "doordir": "as root",
    "doorglob": "as root",
    "list": "list as root",
    "include": "/usr/bin/included as root",
    "atinclude": "/usr/bin/included as root",
    "privs": "as root",
    "apparmor": "as root",
    "intercept": "as root",
    "long": "/usr/bin/program0 with some arguments",
    "nothing": None,
    "root": "as root",
}


@pytest.fixture
def ben(people: People) -> pwd.struct_passwd:
    """The account that is looked at, among others of every kind."""
    people.group("docker", 999)
    people.group("disk", 6)
    people.group("odd", 1234)
    people.add("root", 0)
    people.add("toor", 0)
    people.add("www-data", 33)
    people.add("jupyterhub", 998, gid=200)
    people.add("papa", 1002, "sudo")
    people.add("anna", 1501, "jupyterhub")
    return people.add("ben", 1500, "odd", "jupyterhub", "jupyterhub_adm")


def judge(account: pwd.struct_passwd) -> Optional[Message]:
    """Papa can become root; nobody else that is asked about."""
    assert account.pw_uid >= 1000, "root and system accounts are no question"
    return _("because of the test") if account.pw_name == "papa" else None


def ways(account: pwd.struct_passwd, rules: list[Rule], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(sudo_rights, "rules_of", lambda name: rules if name == account.pw_name else [])
    return [str(one) for one in sudo_rights.ways(account, judge)]


@pytest.mark.parametrize("suite", SAMPLES)
@pytest.mark.parametrize("name", EXPECTED)
def test_what_real_sudo_prints(ben: pwd.struct_passwd, suite: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SAMPLES[suite].get(name)
    if sample is None:
        pytest.skip("this sudo does not know such a rule")
    found, expected = ways(ben, parse(sample["listing"]), monkeypatch), EXPECTED[name]
    if (suite, name) == ("bullseye", "emptyrunas"):
        expected = "as root"
    if expected is None:
        assert found == [], sample["rule"]
    else:
        assert any(expected in one for one in found), (found, sample["rule"])


def test_every_sample_is_looked_at() -> None:
    for suite, samples in SAMPLES.items():
        assert samples.keys() - {"emptyrunas"} <= EXPECTED.keys(), suite
        assert all("listing" in one for one in samples.values())
    assert {name for samples in SAMPLES.values() for name in samples} >= EXPECTED.keys()


def test_no_users_at_all_means_what_sudo_says(ben: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list is root on Debian 11 and oneself from then on."""
    listed = {suite: ways(ben, parse(SAMPLES[suite]["emptyrunas"]["listing"]), monkeypatch) for suite in SAMPLES}
    assert [bool(listed[suite]) for suite in ("bullseye", "bookworm", "trixie")] == [True, False, False]


def rule(users: str, groups: str = "", *, commands: str = "/bin/ls", **more: Any) -> Rule:
    def parts(text: str) -> tuple[str, ...]:
        return tuple(filter(None, text.split(", ")))

    return Rule(parts(users), parts(groups), commands=tuple(filter(None, commands.split(", "))), **more)


#: Users and groups that may be acted as, and whom that reaches.
TARGETS = {
    ("root", ""): "as root",
    ("anna, root", ""): "as root",
    ("root, !root", ""): "",
    ("!root, root", ""): "as root",
    ("!!root", ""): "as root",
    ("ALL", ""): "as root",
    ("ALL, !#0", ""): "as www-data",
    ("!#0, ALL", ""): "as root",
    ("#1501", ""): "",
    ("#4242", ""): "",
    ("#77", ""): "as #77, and who that is nobody knows here",
    ("jupyterhub", ""): "as jupyterhub",
    ("www-data", ""): "as www-data",
    ("%jupyterhub, !root", ""): "as jupyterhub (",
    ("%odd", ""): "",
    ("%nosuch", ""): "",
    # sudo ignores case, unless it is told not to.
    ("ROOT", ""): "as root",
    ("root, !ROOT", ""): "as root",
    ("%SUDO", ""): "as papa",
    ("anna", "Docker"): "in the group docker",
    ("anna", "docker, !DOCKER"): "in the group docker",
    ("nosuch", ""): "",
    ("anna", "odd"): "",
    ("anna", "#999"): "in the group docker",
    ("anna", "ALL"): "in the group ",
    ("anna", "ALL, !docker, !disk, !sudo, !root"): "",
    ("anna", "docker, !docker"): "",
    ("anna", "!docker, docker"): "in the group docker",
    ("ben", "jupyterhub_adm"): "",
    ("+friends, anna", ""): "as +friends",
    ("!+friends, anna", ""): "",
    ('"anna"', ""): "",
    ('"papa"', ""): "as papa",
    (r"pa\pa", ""): "as papa",
    (r"HOME\papa", ""): r"as HOME\papa, and who that is nobody knows here",
    ("we ird", ""): "as we ird, and who that is nobody knows here",
}


@pytest.mark.parametrize(("users", "groups"), TARGETS)
def test_the_last_one_that_matches_decides(
    ben: pwd.struct_passwd, users: str, groups: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = ways(ben, [rule(users, groups)], monkeypatch), TARGETS[users, groups]
    assert [expected in one for one in found] == ([True] if expected else []), found


def test_a_user_without_a_name_is_nobody_that_is_known(ben: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sudo never writes one; whatever it would mean is not guessed."""
    (found,) = ways(ben, [Rule(("", "anna"), (), commands=("/bin/ls",))], monkeypatch)
    assert "and who that is nobody knows here" in found


def test_an_account_that_only_its_directory_knows(
    ben: pwd.struct_passwd, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such directories are asked for one name, and list nobody."""
    everybody = list(people.accounts.values())
    monkeypatch.setattr(pwd, "getpwall", lambda: [one for one in everybody if one.pw_name != "papa"])
    assert ways(ben, [rule("papa")], monkeypatch) == [
        "sudo allows /bin/ls as papa, who can become root (because of the test)"
    ]


def test_a_group_that_the_account_is_in_gives_nothing_new(
    ben: pwd.struct_passwd, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is in docker is said elsewhere."""
    people.groups["docker"][1].append("ben")
    assert ways(ben, [rule("ben", "docker")], monkeypatch) == []


def test_the_file_is_named_where_sudo_tells_it(ben: pwd.struct_passwd, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = ways(ben, parse(SAMPLES["trixie"]["plain"]["listing"]), monkeypatch)
    assert found.startswith("/etc/sudoers.d/test lets sudo run ")


DOOR = '/usr/lib/jupyterhub4family/environment ""'
OPTIONS = frozenset(("!setenv", "!authenticate"))


@pytest.mark.parametrize(
    "other",
    [
        rule("root", commands=DOOR),
        rule("root", commands=DOOR, options=frozenset(("!authenticate",))),
        rule("root", commands=DOOR, options=OPTIONS | {"noexec"}),
        rule("root, toor", commands=DOOR, options=OPTIONS),
        rule("ALL", commands=DOOR, options=OPTIONS),
        rule("root", "docker", commands=DOOR, options=OPTIONS),
        rule("root", commands=DOOR, options=OPTIONS, more=("Chroot",)),
        rule("root", commands=f"{DOOR}, /bin/sh", options=OPTIONS),
        rule("root", commands=DOOR.replace("environment", "authenticate"), options=OPTIONS),
        rule("root", commands=DOOR.replace("environment", "mediator"), options=OPTIONS),
        rule("root", commands=DOOR.replace("environment", "repair"), options=OPTIONS),
        rule("root", commands=DOOR.replace("family/", "family/../"), options=OPTIONS),
        rule("root", commands=f"{DOOR} x", options=OPTIONS),
    ],
)
def test_our_doors_are_allowed_exactly_as_packaged(
    ben: pwd.struct_passwd, other: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ways(ben, [rule("root", commands=DOOR, options=OPTIONS)], monkeypatch) == []
    assert ways(ben, [other], monkeypatch) != []


# -- asking sudo -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listing",
    [
        "",
        "\n\n",
        "sudo: unknown user ben\n",
        HEAD + "    (root) /bin/ls\n",
        HEAD + "Sudoers entry:\n    RunAsUsers: root\n",
        HEAD + "Sudoers entry:\n    Commands:\n\t/bin/ls\n",
        HEAD + "\t/bin/ls\n",
        HEAD + "Sudoers entry:\n    RunAsUsers: root\n\t/bin/ls\n    Commands:\n",
        HEAD + "Sudoers entry:\n    RunAsUsers: root\n    Commands:\n/bin/ls\n",
        "User ben is not allowed to run sudo on elm.\nUser ben is, after all\n",
    ],
)
def test_what_is_not_understood_is_an_error(listing: str) -> None:
    with pytest.raises(UnreadableListing):
        parse(listing)


def test_a_directorys_rules_look_alike() -> None:
    """As sudo 1.9 prints rules of LDAP and SSSD (plugins/sudoers/display.c)."""
    for head in ("LDAP Role: kids", "SSSD Role: kids"):
        (found,) = parse(f"{HEAD}{head}\n    RunAsUsers: root\n    Commands:\n\t/bin/ls\n")
        assert found == Rule(("root",), commands=("/bin/ls",), source="kids")


def asked(monkeypatch: pytest.MonkeyPatch, *answers: CompletedProcess) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(call: Call) -> CompletedProcess:
        calls.append(call.args)
        return answers[len(calls) - 1]

    FakePrograms(monkeypatch).answer("*", run)
    return calls


def test_sudo_is_asked_about_the_account_and_never_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(monkeypatch, CompletedProcess(0, SAMPLES["bookworm"]["all"]["listing"], ""))
    assert rules_of("ben") == [Rule(("ALL",), ("ALL",), commands=("ALL",))]
    assert calls == [["/usr/bin/sudo", "-n", "-ll", "-U", "ben"]]


def test_where_root_may_not_use_sudo_the_account_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    no = CompletedProcess(1, "", "sudo: sudoers specifies that root is not allowed to sudo\n")
    calls = asked(monkeypatch, no, no, CompletedProcess(0, SAMPLES["bookworm"]["doors"]["listing"], ""))
    assert all(one.is_own_door() for one in rules_of("ben"))
    assert calls[2] == [*as_account("ben"), "/usr/bin/sudo", "-n", "-ll"]


def test_where_sudo_wants_a_terminal_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    no = CompletedProcess(1, "", "sudo: sorry, you must have a tty to run sudo\n")
    terminal = SAMPLES["trixie"]["all"]["listing"].replace("\n", "\r\n")
    calls = asked(monkeypatch, no, CompletedProcess(0, terminal, ""))
    assert [one.users for one in rules_of("ben;id")] == [("ALL",)]
    assert calls[1] == ["/usr/bin/script", "-qec", "/usr/bin/sudo -n -ll -U 'ben;id' | cat", "/dev/null"]


@pytest.mark.parametrize(
    "output",
    [
        "sudo: /etc/sudoers is owned by uid 1, should be 0\nsudo: error initializing audit plugin sudoers_audit\n",
        "sudo: sorry, you must have a tty to run sudo\n",
    ],
)
def test_sudo_that_fails_is_not_taken_for_no_rights(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    other = CompletedProcess(1, "", "sudo: a password is required\n")
    asked(monkeypatch, CompletedProcess(1, "", output), other, other)
    with pytest.raises(ProgramError, match=output.split("\n", maxsplit=1)[0][-20:]):
        rules_of("ben")
