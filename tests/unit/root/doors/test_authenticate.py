"""root.authenticate: PAM is asked about people only, for everybody else about nobody; what is odd is refused.

PAM itself is asked on real machines (tests/machine): unprivileged, and without accounts, it says nothing worth knowing.
"""

from __future__ import annotations

import io
import json
import os
import pwd
import sys
import syslog
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, UsageError
from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.i18n.messages import Message
from jupyterhub4family.common.protocol import serving, shapes
from jupyterhub4family.common.system import accounts, files
from jupyterhub4family.common.system.programs import ProgramError
from jupyterhub4family.root.base import run_dir
from jupyterhub4family.root.doors import administrators, pam, tries
from jupyterhub4family.root.doors import authenticate as door
from jupyterhub4family.root.doors.pam import BROKEN, PAM_ACCT_EXPIRED, PAM_NEW_AUTHTOK_REQD, Verdict
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
        monkeypatch.setattr(administrators, "ways_to_root", self._ways)
        #: Of whom it was looked up meanwhile what they can become.
        self.looked: list[str] = []
        #: Who can become root and may not log in.
        self.administrators: set[str] = set()
        #: What goes wrong when it is looked up.
        self.broken: Exception | None = None
        monkeypatch.setattr(paths, "ALLOWED_ADMINISTRATORS", tmp_path / "allowed-administrators")
        self.hashed: list[str] = []
        monkeypatch.setattr(pam, "hash_in_vain", self.hashed.append)
        monkeypatch.setattr(run_dir, "RUN_DIR", tmp_path)
        monkeypatch.setattr(run_dir, "ensure_run_dir", lambda: None)
        #: What the machine's own clock says; nothing takes time here but what a test says.
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(tries, "_clock", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.waited.append)
        monkeypatch.setattr(syslog, "openlog", lambda *_args: None)
        monkeypatch.setattr(syslog, "syslog", lambda _level, message: self.log.append(message))
        people.add("root", 0, "jupyterhub")
        people.add("jupyterhub", 998, gid=200)
        people.add("anna", 1001, "jupyterhub")
        people.add("ben", 1002, "jupyterhub_adm", "sudo")
        people.add("nobody", 65534, "jupyterhub")

    def _ways(self, account: pwd.struct_passwd) -> list[Message]:
        self.looked.append(account.pw_name)
        if self.broken is not None:
            raise self.broken
        return [messages._("in the group {group}", group="sudo")] if account.pw_name in self.administrators else []

    def pam_says(self, authentication: int, account: int, takes: float = 0) -> None:
        around = self

        class Libpam:
            def check(self, *args: str) -> Verdict:
                around.asked.append(args)
                around.now += takes
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


@pytest.mark.parametrize("authentication", [0, WRONG])
@pytest.mark.parametrize("name", sorted(set(NO_MEMBERS.values()) - {"ben"}), ids=ascii)
def test_about_who_is_no_person_pam_is_not_asked_and_its_answer_not_believed(
    around: Around, name: str, authentication: int
) -> None:
    around.pam_says(authentication, 0)
    answer = ask(name=name, password=PASSWORD, address="192.168.0.7")
    assert answer == {"allowed": False, "reason": "refused", "name": ""}
    # The same work as for a member.
    assert around.asked == [("jupyterhub4family", door.NOBODY, PASSWORD, "192.168.0.7")]
    assert around.hashed == [PASSWORD]
    (waited,) = around.waited
    assert 1 < door.SHORTEST_DELAY <= waited <= door.LONGEST_DELAY
    (line,) = around.log
    assert line.isprintable() and len(line) < 250
    assert "192.168.0.7" in line and PASSWORD not in line


def test_who_is_no_member_is_told_so_with_the_right_password_only(around: Around) -> None:
    around.pam_says(0, 0)
    assert ask(name="ben", password=PASSWORD)["reason"] == "no-member"
    # The account's state is the machine's business.
    around.pam_says(0, PAM_ACCT_EXPIRED)
    assert ask(name="ben", password=PASSWORD) == {"allowed": False, "reason": "no-member", "name": ""}
    assert around.waited == []
    around.pam_says(WRONG, 0)
    assert ask(name="ben", password="wrong")["reason"] == "refused"
    assert [args[1] for args in around.asked] == ["ben"] * 3


def test_nobody_is_guessed_at_by_that(around: Around) -> None:
    """Five wrong passwords an hour; beyond that PAM is not asked, and the answers are those of any other account."""
    around.pam_says(WRONG, 0)
    reasons = []
    for _minute in range(3):
        reasons += [ask(name="ben", password="wrong")["reason"] for _time in range(6)]
        around.now += 61
    assert reasons == (["refused"] * 5 + ["too-many"]) * 3
    assert [args[1] for args in around.asked] == ["ben"] * 5 + [door.NOBODY] * 10
    around.pam_says(0, 0)
    assert ask(name="ben", password=PASSWORD)["reason"] == "refused", "not even the right one"
    around.now += 3600
    assert ask(name="ben", password=PASSWORD)["reason"] == "no-member"


@pytest.mark.parametrize("takes", [0.0, 0.3, 1.2, 4.0])
@pytest.mark.parametrize("name", ["anna", "ben", "clara", "root"])
def test_a_no_takes_the_same_time_however_long_pam_does(around: Around, name: str, takes: float) -> None:
    around.pam_says(WRONG, 19, takes)
    for _time in range(5):
        ask(name=name, password="wrong")
    for waited in around.waited:
        assert max(0.0, door.SHORTEST_DELAY - takes) <= waited + 1e-9 and waited <= max(0.0, door.LONGEST_DELAY - takes)
    assert len(around.waited) == 5


# -- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["anna", "ben", "clara", "root", "nobody", "x" * 5000])
def test_after_five_nobody_is_asked_about_for_a_minute(around: Around, name: str) -> None:
    around.pam_says(WRONG, 19)
    for number in range(10):
        assert ask(name=name, password="wrong")["reason"] == ("refused" if number < 5 else "too-many")
    assert len(around.asked) == 5 and len(around.waited) == 5, "and is told so at once"
    around.now += 61
    assert ask(name=name, password="wrong")["reason"] == "refused"


def test_right_passwords_are_not_counted(around: Around) -> None:
    for authentication, account in ((0, 0), (0, PAM_ACCT_EXPIRED), (0, DENIED)):
        around.pam_says(authentication, account)
        for _time in range(20):
            assert ask(name="anna", password=PASSWORD)["reason"] != "too-many"


@pytest.mark.parametrize("code", sorted(BROKEN))
@pytest.mark.parametrize("name", ["anna", "ben", "clara", "root"])
def test_what_pam_cannot_find_out_is_not_counted_and_told_to_everybody(around: Around, name: str, code: int) -> None:
    around.pam_says(code, 19)
    for _time in range(20):
        assert ask(name=name, password=PASSWORD) == {"allowed": False, "reason": "broken", "name": ""}
    around.pam_says(0, code)
    assert ask(name="anna", password=PASSWORD)["reason"] == "broken"
    assert around.waited == []


def test_a_device_of_hers_has_a_count_of_its_own(around: Around) -> None:
    hers, other = "a" * 32, "b" * 32
    around.pam_says(WRONG, 19)
    for _time in range(6):
        ask(name="anna", password="wrong")
    around.pam_says(0, 0)
    assert ask(name="anna", password=PASSWORD)["reason"] == "too-many"
    assert ask(name="anna", password=PASSWORD, device=hers)["allowed"]
    around.pam_says(WRONG, 19)
    assert [ask(name="anna", password="x", device=hers)["reason"] for _time in range(6)][4:] == ["refused", "too-many"]
    around.pam_says(0, 0)
    assert ask(name="anna", password=PASSWORD, device=other)["allowed"]
    assert "(known device): too-many" in around.log[-1]


@pytest.mark.parametrize("name", ["ben", "clara", "root"])
def test_who_is_no_member_has_no_devices(around: Around, name: str) -> None:
    around.pam_says(WRONG, 19)
    reasons = [ask(name=name, password="x", device=f"{number:032x}")["reason"] for number in range(10)]
    assert reasons == ["refused"] * 5 + ["too-many"] * 5


def test_who_dies_on_the_way_has_tried(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    class Libpam:
        def check(self, *_args: str) -> Verdict:
            raise KeyboardInterrupt

    monkeypatch.setattr(door, "Libpam", Libpam)
    for _time in range(5):
        with pytest.raises(KeyboardInterrupt):
            ask(name="anna", password=PASSWORD)
    assert ask(name="anna", password=PASSWORD)["reason"] == "too-many"


def test_what_cannot_be_counted_is_not_looked_at(around: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", refuse)
    for name in ("anna", "clara"):
        with pytest.raises(OSError):
            ask(name=name, password=PASSWORD)
    assert around.asked == []


@pytest.mark.parametrize("name", NO_MEMBERS.values(), ids=list(NO_MEMBERS))
def test_the_real_database_survives_these_names_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "never_a_member", lambda _account: FamilyError("never"))
    assert door._ordinary_account(name) is None


def test_a_member_with_the_right_password(around: Around) -> None:
    around.pam_says(0, 0)
    answer = ask(name="anna", password=PASSWORD, address="::1")
    assert answer == {"allowed": True, "reason": "", "name": "anna"}
    assert around.asked == [("jupyterhub4family", "anna", PASSWORD, "::1")]
    assert around.waited == [] and around.log == [] and around.hashed == []


def test_who_can_become_root_is_refused_and_only_they_learn_why(around: Around) -> None:
    around.administrators = {"anna"}
    around.pam_says(WRONG, 0)
    assert ask(name="anna", password="wrong")["reason"] == "refused"
    around.pam_says(0, 0)
    assert ask(name="anna", password=PASSWORD, address="::1") == {
        "allowed": False,
        "reason": "administrator",
        "name": "",
    }
    assert around.log[-2:] == [
        "anna can become root (in the group sudo): whoever broke into the hub could, too",
        "refused 'anna' from ::1: administrator",
    ]
    paths.ALLOWED_ADMINISTRATORS.write_text("anna 1001\n")
    assert ask(name="anna", password=PASSWORD)["allowed"], "root has allowed it"


def test_the_same_is_looked_up_for_everybody(around: Around) -> None:
    """While PAM is asked: a member's name costs as much as anybody's, and of who is no member nothing is looked up."""
    around.pam_says(WRONG, 0)
    for name in ("anna", "ben", "clara", "root"):
        ask(name=name, password="wrong")
    assert around.looked == ["anna", "nobody", "nobody", "nobody"]


@pytest.mark.parametrize("problem", [ProgramError("sudo could not be asked"), RuntimeError("a fault of ours")])
def test_who_cannot_be_looked_up_is_not_let_in(around: Around, problem: Exception) -> None:
    around.pam_says(0, 0)
    around.broken = problem
    with pytest.raises(type(problem)):
        ask(name="anna", password=PASSWORD)
    around.pam_says(WRONG, 0)
    assert ask(name="anna", password="wrong")["reason"] == "refused"


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
    assert len(around.waited) == (reason == "refused")
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
    "a number for a device": {"name": "anna", "password": "x", "device": 1},
    "a short device": {"name": "anna", "password": "x", "device": "a" * 31},
    "a device with a line feed": {"name": "anna", "password": "x", "device": "a" * 32 + "\n"},
    "a path for a device": {"name": "anna", "password": "x", "device": "../" + "a" * 29},
    "capitals in a device": {"name": "anna", "password": "x", "device": "A" * 32},
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
    around.pam_says(WRONG, 19)
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
