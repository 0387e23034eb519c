"""user.waiting_server: one server waits for a member, and only one that is theirs is handed to the hub."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.python import uv
from jupyterhub4family.common.system import processes
from jupyterhub4family.user import limit_server, server, waiting_server
from tests.unit.helpers import account, wait_until, write_program

#: In place of lean/start.py: waits as that does, notes what was said, answers as the file `answer` says.
WAITER = """
import json, os, socket, sys, time
descriptor, seconds = os.environ["JUPYTERHUB4FAMILY_WAIT"].split()
listener = socket.socket(fileno=int(descriptor))
listener.settimeout(60)
while True:
    visitor = listener.accept()[0]
    wish = visitor.makefile().readline()
    if wish:
        break
answer = open("answer").read() if os.path.exists("answer") else json.dumps({"pid": os.getpid()})
try:
    visitor.sendall(answer.encode())
    visitor.sendall(b"\\n")
    said = visitor.makefile().readline()
except OSError:
    said = ""  # gone, without having read all of it
with open("reported.tmp", "w") as file:
    json.dump({"wish": json.loads(wish), "said": said, "seconds": seconds, "pid": os.getpid()}, file)
os.rename("reported.tmp", "reported")
time.sleep(60)
"""
KNOWN = {processes.SERVER_MARKER: "/user/anna/", "JUPYTERHUB_API_URL": "http://127.0.0.1:8081/hub/api"}


class Home:
    """A member's, with an environment; what waits there is ended after the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.member: pwd.struct_passwd = account("anna", os.getuid(), home=directory)
        self.socket = directory / paths.MEMBER_WAITING
        bin_directory = directory / paths.MEMBER_ENVIRONMENT / "bin"
        write_program(bin_directory / "jupyterhub-singleuser", "", interpreter="/nowhere/python")
        write_program(bin_directory / "python", 'exec /usr/bin/env python3 "$@"', interpreter="/bin/sh")

    def reported(self) -> Any:
        reported = self.directory / "reported"
        wait_until(reported.exists, "what was said to it")
        return json.loads(reported.read_text())

    def waiting(self) -> list[int]:
        """The pids of all that wait here."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                value = processes.environment_value(int(entry), "HOME")
                if value == str(self.directory) and int(entry) != os.getpid():
                    found.append(int(entry))
        return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    start = tmp_path / "start.py"
    start.write_text(WAITER, "ascii")
    monkeypatch.setattr(paths, "LEAN_START", start)
    monkeypatch.setattr(paths, "LAST_GOOD_SETTINGS", tmp_path / "settings.json")
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path / "no systemd")
    monkeypatch.setattr(limit_server, "confine_this_process", lambda: "")
    monkeypatch.setattr(server, "LOCALE_FILE", tmp_path / "none")
    monkeypatch.setattr(uv, "MACHINE_ENVIRONMENT", tmp_path / "none")
    made = Home(tmp_path / "home")
    yield made
    for pid in made.waiting():
        os.kill(pid, signal.SIGKILL)


def test_what_was_prepared_is_taken_with_all_variables(home: Home) -> None:
    assert waiting_server.prepare(home.member, KNOWN, 120)
    (pid,) = home.waiting()
    wanted = {**KNOWN, "JUPYTERHUB_API_TOKEN": "secret", "LD_PRELOAD": "/tmp/bad", "JUPYTERHUB_SERVER_NAME": ""}
    taken = waiting_server.take(home.member, wanted)
    assert taken == server.Started(pid, processes.start_time(pid) or 0)
    reported = home.reported()
    assert reported["said"] == "go\n" and reported["seconds"] == "120"
    assert reported["wish"] == server.server_environment(home.member, wanted) and "LD_PRELOAD" not in reported["wish"]
    before = processes.read(pid, "environ").decode()
    assert "secret" not in before, "what is secret does not stand in the process's first variables"
    assert waiting_server.take(home.member, wanted) is None, "each is taken once"


def test_only_the_member_reaches_it(home: Home) -> None:
    os.umask(before := os.umask(0))
    assert waiting_server.prepare(home.member, KNOWN, 120)
    assert stat.S_IMODE(home.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.socket.parent.stat().st_mode) == 0o700
    assert os.umask(before) == before, "what comes later has the usual mode"


def test_one_at_a_time(home: Home) -> None:
    for _again in range(3):
        assert waiting_server.prepare(home.member, KNOWN, 120)
    assert len(home.waiting()) == 1


def test_the_socket_of_one_that_was_killed_is_in_nobodys_way(home: Home) -> None:
    assert waiting_server.prepare(home.member, KNOWN, 120)
    os.kill(home.waiting()[0], signal.SIGKILL)
    wait_until(lambda: not home.waiting(), "its end")
    assert home.socket.exists() and waiting_server.take(home.member, KNOWN) is None
    assert waiting_server.prepare(home.member, KNOWN, 120) and home.waiting()


def test_a_home_with_a_long_name_has_one_as_well(home: Home, tmp_path: Path) -> None:
    long = Home(tmp_path / ("x" * 150))
    try:
        assert waiting_server.prepare(long.member, KNOWN, 120)
        assert waiting_server.take(long.member, KNOWN) is not None
    finally:
        for pid in long.waiting():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("reason", ["by the member", "by root", "no marker", "no environment", "no folder"])
def test_none_is_prepared_where_it_would_be_of_no_use(home: Home, reason: str) -> None:
    variables = dict(KNOWN)
    if reason == "by the member":
        (home.directory / server.PLAIN_SERVER).parent.mkdir(parents=True)
        (home.directory / server.PLAIN_SERVER).touch()
    elif reason == "by root":
        paths.LAST_GOOD_SETTINGS.write_text('{"lean_servers": false}')
    elif reason == "no marker":
        del variables[processes.SERVER_MARKER]
    elif reason == "no folder":
        home.socket.parent.parent.mkdir(parents=True, exist_ok=True)
        home.socket.parent.write_text("a file")
    if reason == "no environment":
        (home.directory / paths.MEMBER_ENVIRONMENT / "bin" / "jupyterhub-singleuser").unlink()
        with pytest.raises(Exception, match="no environment yet"):
            waiting_server.prepare(home.member, variables, 120)
    else:
        assert not waiting_server.prepare(home.member, variables, 120)
        assert waiting_server.take(home.member, KNOWN) is None
    assert home.waiting() == []


@pytest.mark.parametrize("seconds", [0, -1, waiting_server.LONGEST + 1])
def test_nobody_has_one_wait_for_ever(home: Home, seconds: int) -> None:
    with pytest.raises(UsageError):
        waiting_server.prepare(home.member, KNOWN, seconds)
    assert home.waiting() == []


def test_whom_root_refuses_has_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise PermissionRefused(_("{name} is not a member", name="anna"))

    monkeypatch.setattr(limit_server, "confine_this_process", refuse)
    with pytest.raises(Exception, match="not a member"):
        waiting_server.prepare(home.member, KNOWN, 120)
    assert home.waiting() == []
    assert waiting_server.take(home.member, KNOWN) is None


def test_a_plain_server_is_never_one_that_waits(home: Home) -> None:
    """Turned off while one waits: the next start does as it was told."""
    assert waiting_server.prepare(home.member, KNOWN, 120)
    paths.LAST_GOOD_SETTINGS.write_text('{"lean_servers": false}')
    assert waiting_server.take(home.member, KNOWN) is None
    assert home.reported()["said"] == "", "and that one knows that it is over"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        *(f'{{"pid": {pid}}}' for pid in ('"1"', 1, -1, "true", 10**10)),
        "x" * 500,
        "{" * 150,
    ],
)
def test_who_answers_something_else_is_not_taken(home: Home, answer: str) -> None:
    assert waiting_server.prepare(home.member, KNOWN, 120)
    (home.directory / "answer").write_text(answer)
    assert waiting_server.take(home.member, KNOWN) is None
    assert home.reported()["said"] == "", "and is not told to go on"


def test_a_program_that_is_no_server_is_not_taken(home: Home) -> None:
    """Its pid would be signalled later, as a server's."""
    assert waiting_server.prepare(home.member, KNOWN, 120)
    (home.directory / "answer").write_text(json.dumps({"pid": os.getpid()}))
    assert waiting_server.take(home.member, KNOWN) is None


def test_one_without_limits_is_not_taken_where_servers_have_limits(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert waiting_server.prepare(home.member, KNOWN, 120)
    monkeypatch.setattr(paths, "SYSTEMD_RUNS", tmp_path)
    assert waiting_server.take(home.member, KNOWN) is None
    assert home.reported()["said"] == ""


def test_who_does_not_answer_keeps_a_start_waiting_for_some_seconds_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.socket.parent.mkdir(parents=True)
    monkeypatch.setattr(waiting_server, "ANSWER_WITHIN", 0.3)
    with waiting_server._directory(home.member) as directory, socket.socket(socket.AF_UNIX) as silent:
        assert directory is not None
        silent.bind(waiting_server._address(directory))
        silent.listen(1)
        began = time.monotonic()
        assert waiting_server.take(home.member, KNOWN) is None
        assert time.monotonic() - began < 5
