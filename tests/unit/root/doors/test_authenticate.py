"""root.authenticate: who is no member never gets as far as PAM; what is odd is refused, and no secret is written.

PAM itself is asked on real machines (tests/machine): unprivileged, and without accounts, it says nothing worth knowing.
"""

from __future__ import annotations

import io
import json
import os
import sys
import syslog
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.protocol import serving, shapes
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.doors import authenticate as door
from jupyterhub4family.root.doors.pam import PAM_ACCT_EXPIRED, PAM_NEW_AUTHTOK_REQD, Verdict
from tests.unit.helpers import People, must_not_be_called

PASSWORD = "correct horse battery staple"
#: PAM_AUTH_ERR, PAM_PERM_DENIED, PAM_MAXTRIES
WRONG = 7
DENIED = 6


class Around:
    """What surrounds the door: accounts, the log, a clock that does not really wait."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.log: list[str] = []
        self.waited: list[float] = []
        self.asked: list[tuple[str, ...]] = []
        self.tally = tmp_path / "run" / "faillock"
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(door, "TALLY_DIRECTORY", self.tally)
        monkeypatch.setattr(door, "Libpam", must_not_be_called)
        monkeypatch.setattr(time, "sleep", self.waited.append)
        monkeypatch.setattr(syslog, "openlog", lambda *_args: None)
        monkeypatch.setattr(syslog, "syslog", lambda _level, message: self.log.append(message))
        people.add("root", 0, "jupyterhub")
        people.add("jupyterhub", 998, gid=200)
        people.add("anna", 1001, "jupyterhub")
        people.add("ben", 1002, "jupyterhub_adm", "sudo")
        people.add("nobody", 65534, "jupyterhub")

    def pam_says(self, authentication: int, account: int) -> None:
        asked = self.asked

        class Libpam:
            def check(self, *args: str) -> Verdict:
                asked.append(args)
                return Verdict(authentication, account)

        self._monkeypatch.setattr(door, "Libpam", Libpam)


@pytest.fixture
def around(people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Around:
    return Around(people, monkeypatch, tmp_path)


def ask(**request: Any) -> dict[str, Any]:
    """The answer to this request, if it is one."""
    handler, known = serving.choose(door.HANDLERS, request)
    answer: dict[str, Any] = shapes.encode(handler.function(None, known))
    return answer


NO_MEMBERS = {
    "nobody of that name": "clara",
    "root": "root",
    "the service account": "jupyterhub",
    "an account outside the group": "ben",
    "a system account inside the group": "nobody",
    "empty": "",
    "capitals": "Anna",
    "a space behind": "anna ",
    "a line feed behind": "anna\n",
    "a NUL behind": "anna\0",
    "a NUL in front": "\0anna",
    "a Cyrillic letter": "аnna",
    "an accent": "ännä",
    "half a character": "\ud800",
    "a raw byte": "\udcff",
    "an option": "--help",
    "a path": "../anna",
    "10 kB": "a" * 10_240,
    "a forged line": "x\nNov 22 sshd: Accepted password for root",
}


@pytest.mark.parametrize("name", NO_MEMBERS.values(), ids=list(NO_MEMBERS))
def test_who_is_no_member_is_refused_before_pam_and_slowly(around: Around, name: str) -> None:
    answer = ask(name=name, password=PASSWORD, address="192.168.0.7")
    assert answer == {"allowed": False, "reason": "refused", "name": ""}
    (waited,) = around.waited
    assert 1 < door.SHORTEST_DELAY <= waited <= door.LONGEST_DELAY
    (line,) = around.log
    assert line.isprintable() and len(line) < 250
    assert "192.168.0.7" in line and PASSWORD not in line
    assert not around.tally.exists()


@pytest.mark.parametrize("name", NO_MEMBERS.values(), ids=list(NO_MEMBERS))
def test_the_real_database_survives_these_names_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "is_member", lambda _account: False)
    assert door._member(name) is None


def test_a_member_with_the_right_password(around: Around) -> None:
    around.pam_says(0, 0)
    answer = ask(name="anna", password=PASSWORD, address="::1")
    assert answer == {"allowed": True, "reason": "", "name": "anna"}
    assert around.asked == [("jupyterhub4family", "anna", PASSWORD, "::1")]
    assert around.waited == [] and around.log == []


def test_failed_tries_are_counted_in_a_folder_that_only_root_may_enter(around: Around) -> None:
    around.pam_says(0, 0)
    for _ in range(2):
        ask(name="anna", password=PASSWORD)
    assert around.tally.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("authentication", "account", "reason"),
    [
        (WRONG, 19, "refused"),
        (DENIED, 19, "refused"),
        # The account's state is nobody's business who does not know the password.
        (WRONG, PAM_ACCT_EXPIRED, "refused"),
        (WRONG, PAM_NEW_AUTHTOK_REQD, "refused"),
        (WRONG, 0, "refused"),
        (0, DENIED, "refused"),
        (0, PAM_ACCT_EXPIRED, "account-expired"),
        (0, PAM_NEW_AUTHTOK_REQD, "password-expired"),
    ],
)
def test_pams_no_is_a_no(around: Around, authentication: int, account: int, reason: str) -> None:
    around.pam_says(authentication, account)
    answer = ask(name="anna", password=PASSWORD)
    assert answer == {"allowed": False, "reason": reason, "name": ""}
    assert around.log == [f"refused 'anna' from an unknown address: {reason}"]


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "no password": {"name": "anna"},
    "no name": {"password": "x"},
    "a key too many": {"name": "anna", "password": "x", "service": "su"},
    "a number for a name": {"name": 0, "password": "x"},
    "a list for a name": {"name": ["anna"], "password": "x"},
    "a number for a password": {"name": "anna", "password": 1},
    "nothing for a password": {"name": "anna", "password": None},
    "a NUL in the password": {"name": "anna", "password": "x\0y"},
    "a long password": {"name": "anna", "password": "x" * 1025},
    "a password that is no text": {"name": "anna", "password": "x\ud800"},
    "a long address": {"name": "anna", "password": "x", "address": "1" * 65},
    "a line feed in the address": {"name": "anna", "password": "x", "address": "1.2.3.4\nx"},
    "a number for an address": {"name": "anna", "password": "x", "address": 1},
}


@pytest.mark.parametrize("request_", BAD_REQUESTS.values(), ids=list(BAD_REQUESTS))
def test_requests_that_are_off_do_not_reach_pam(around: Around, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ask(**request_)


@pytest.mark.parametrize("password", ["", "x" * 1024, "pässwörd", "🐴", "a\nb", "\x7f"])
def test_passwords_reach_pam_as_they_are(around: Around, password: str) -> None:
    around.pam_says(0, 0)
    ask(name="anna", password=password)
    assert around.asked[0][2] == password


# -- the program ---------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: bytes) -> tuple[int, Any]:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request)))
    status = door.main()
    written = capsys.readouterr()
    assert PASSWORD not in written.out + written.err
    return status, json.loads(written.out)


@pytest.mark.parametrize(("uid", "status"), [(None, 0), ("0", 0), ("998", 0), ("1001", 4), ("1002", 4), ("77", 4)])
def test_only_the_hub_and_root_may_ask(
    around: Around,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uid: str | None,
    status: int,
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    if uid is not None:
        monkeypatch.setenv("SUDO_UID", uid)
    request = json.dumps({"name": "clara", "password": PASSWORD}).encode()
    got, answer = call(monkeypatch, capsys, request)
    assert got == status and answer["ok"] is (status == 0)


@pytest.mark.parametrize("request_bytes", [b"", b"{", b"[]", b'{"name": "anna"}', b"\xff" * 300_000])
def test_the_program_answers_nonsense_with_a_sentence(
    around: Around, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request_bytes: bytes
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    status, answer = call(monkeypatch, capsys, request_bytes)
    assert status == 2 and answer["ok"] is False and answer["error"]


def test_without_roots_rights_nothing_is_read(
    around: Around, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 998)
    monkeypatch.setattr(sys, "stdin", None)
    assert door.main() == 4
    assert json.loads(capsys.readouterr().out)["ok"] is False
