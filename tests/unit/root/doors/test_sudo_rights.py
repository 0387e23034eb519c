"""root.sudo_rights: whoever sudo lets become root is noticed, our own doors aside.

The listings are what sudo 1.9.5 to 1.9.16 print with `sudo -l -U NAME` into a pipe (there, lines are not broken).
"""

from __future__ import annotations

import pytest

from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.root.doors.sudo_rights import rights_beyond_doors, root_commands

HEAD = """Matching Defaults entries for anna on elm:
    env_reset, mail_badpass, secure_path=/usr/local/sbin\\:/usr/local/bin\\:/usr/sbin\\:/usr/bin\\:/sbin\\:/bin, use_pty

Runas and Command-specific defaults for anna:
    Defaults!/usr/lib/jupyterhub4family/members env_reset, !setenv, !requiretty, !lecture

User anna may run the following commands on elm:
"""
DOOR = '/usr/lib/jupyterhub4family/members ""'

#: A rule, and the commands that make its owner an administrator.
ADMINISTRATORS = {
    "(ALL : ALL) ALL": "ALL",
    "(ALL) ALL": "ALL",
    "(ALL) NOPASSWD: ALL": "ALL",
    "(ALL : ALL) NOPASSWD: SETENV: ALL": "ALL",
    "(root) /usr/bin/apt": "/usr/bin/apt",
    "(root : root) /usr/bin/apt": "/usr/bin/apt",
    "(root : adm) /bin/ls": "/bin/ls",
    "(#0) sudoedit /etc/hosts": "sudoedit /etc/hosts",
    "(root) NOPASSWD: /usr/bin/apt update, /usr/bin/apt upgrade": "/usr/bin/apt update, /usr/bin/apt upgrade",
    "(root) LOG_OUTPUT: /usr/bin/systemctl restart *": "/usr/bin/systemctl restart *",
    "(root) CWD=/tmp TIMEOUT=60 NOPASSWD: /bin/ls": "CWD=/tmp TIMEOUT=60 NOPASSWD: /bin/ls",
    "(root) sha224:0GomF8mNN3wlDt1HD9XldjJ3SNgpFdbjO1+NsQ== /bin/ls": "sha224:0GomF8mNN3wlDt1HD9XldjJ3SNgpFdbjO1+NsQ== "
    "/bin/ls",
    # Aliases are written out by sudo: this was Runas_Alias OPS and Cmnd_Alias UPDATE.
    "(root, operator) /usr/bin/apt update": "/usr/bin/apt update",
    "(operator, root) /usr/bin/apt update": "/usr/bin/apt update",
    # Whoever can be everybody else can be somebody who can become root.
    "(ALL, !root) /bin/cat": "/bin/cat",
    # root is in the group root.
    "(%root) /bin/ls": "/bin/ls",
    # Behind a door of ours, with tags of its own.
    f"(root) NOPASSWD: {DOOR}, PASSWD: /usr/bin/apt": "/usr/bin/apt",
    f"(root) NOPASSWD: {DOOR}, ALL": "ALL",
    "(root) /usr/lib/jupyterhub4family-evil/members": "/usr/lib/jupyterhub4family-evil/members",
    "(root) /bin/sh /usr/lib/jupyterhub4family/members": "/bin/sh /usr/lib/jupyterhub4family/members",
}

ORDINARY = (
    f"(root) NOPASSWD: {DOOR}",
    f"(root) NOSETENV: NOPASSWD: {DOOR}",
    # Debian 11's sudo puts a backslash before each quotation mark.
    '(root) NOPASSWD: /usr/lib/jupyterhub4family/members \\"\\"',
    f"(ALL) NOPASSWD: {DOOR}",
    f"(root) {DOOR}, {DOOR}",
    "(bob) /usr/bin/apt",
    "(bob : bob) NOPASSWD: ALL",
    "(bin, games) /usr/bin/apt update, /usr/bin/apt upgrade",
    "(anna : adm) /bin/ls",
    "(rooter) ALL",
    "(%jupyterhub, !root) NOPASSWD: /bin/ls",
)


@pytest.mark.parametrize("rule", ADMINISTRATORS)
def test_rules_that_make_an_administrator(rule: str) -> None:
    assert root_commands(f"{HEAD}    {rule}\n") == [ADMINISTRATORS[rule]]


@pytest.mark.parametrize("rule", ORDINARY)
def test_rules_that_do_not(rule: str) -> None:
    assert root_commands(f"{HEAD}    {rule}\n") == []


def test_every_rule_of_a_listing_is_looked_at() -> None:
    listing = HEAD + "".join(f"    {rule}\n" for rule in [*ORDINARY, *ADMINISTRATORS])
    assert root_commands(listing) == list(ADMINISTRATORS.values())


@pytest.mark.parametrize("listing", ["", "User anna is not allowed to run sudo on elm.\n", HEAD, "\n\n"])
def test_who_may_nothing(listing: str) -> None:
    assert root_commands(listing) == []


def test_sudo_is_asked_about_the_account_and_never_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(args: list[str], **_more: object) -> CompletedProcess:
        asked.append(args)
        return CompletedProcess(0, f"{HEAD}    (ALL : ALL) ALL\n    (root) {DOOR}\n", "")

    monkeypatch.setattr(programs, "run", run)
    assert rights_beyond_doors("anna") == ["sudo allows ALL"]
    assert asked == [["/usr/bin/sudo", "-n", "-l", "-U", "anna"]]


def test_sudo_that_cannot_be_asked_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_args: list[str], **_more: object) -> CompletedProcess:
        raise ProgramError("sudo could not be started")

    monkeypatch.setattr(programs, "run", run)
    with pytest.raises(ProgramError):
        rights_beyond_doors("anna")


def test_sudo_that_fails_is_not_taken_for_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    output = "sudo: /etc/sudoers is owned by uid 1, should be 0\nsudo: error initializing audit plugin sudoers_audit\n"
    monkeypatch.setattr(programs, "run", lambda *_args, **_more: CompletedProcess(1, "", output))
    with pytest.raises(ProgramError, match="should be 0"):
        rights_beyond_doors("anna")
