"""user.mediator: the door to a member's servers does few things, for members only, and answers every request."""

from __future__ import annotations

import io
import json
import os
import pwd
import sys
from typing import Any, Callable

import pytest

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import from_json
from jupyterhub4family.common.protocol import json_lines
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.user import environment, limit_server, mediator, server
from jupyterhub4family.user.server import Started
from tests.unit.helpers import People, must_not_be_called


class Door:
    """The door, opened for the account that the test names; what it would do is remembered."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.done: list[tuple[Any, ...]] = []
        self._monkeypatch, self._capsys = monkeypatch, capsys
        people.add("root", 0, "jupyterhub")
        people.add("jupyterhub", 998, "jupyterhub")
        people.add("anna", 1001, "jupyterhub")
        people.add("ben", 1002)
        self.as_whom(1001)
        monkeypatch.setattr(environment, "prepare", self._prepare)
        monkeypatch.setattr(server, "spawn", self._remember("spawn", Started(4711, 99)))
        monkeypatch.setattr(server, "kill", self._remember("kill", True))
        monkeypatch.setattr(server, "record_killed", self._remember("killed", None))
        monkeypatch.setattr(limit_server, "end_all", self._remember("end", 3))
        monkeypatch.setattr(server, "last_log_lines", self._remember("log", ["one", "two"]))

    def as_whom(self, uid: int, effective: int | None = None) -> None:
        self._monkeypatch.setattr(os, "getuid", lambda: uid)
        self._monkeypatch.setattr(os, "geteuid", lambda: uid if effective is None else effective)

    def send(self, request: bytes) -> list[dict[str, Any]]:
        """All lines of the answer."""
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request)))
        mask = os.umask(0o022)
        try:
            # Any other status makes sudospawner drop the reason.
            assert mediator.main() == 0
        finally:
            os.umask(mask)
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def ask(self, **request: Any) -> dict[str, Any]:
        """The one line of the answer."""
        (answer,) = self.send(json.dumps(request).encode())
        return answer

    def _remember(self, name: str, result: Any) -> Any:
        def call(*arguments: Any) -> Any:
            shown = [word.pw_name if isinstance(word, pwd.struct_passwd) else word for word in arguments]
            self.done.append((name, *shown))
            return result

        return call

    def _prepare(
        self, member: pwd.struct_passwd, progress: ProgressCallback, thorough: bool, before_work: Callable[[], None]
    ) -> str:
        assert before_work == limit_server.require_permission, "root is asked before anything of the service's runs"
        self.done.append(("prepare", member.pw_name, thorough))
        progress(5, "Making")
        progress(100, "Ready")
        return "made"


@pytest.fixture
def door(people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    return Door(people, monkeypatch, capsys)


def test_prepare_streams_its_progress(door: Door) -> None:
    assert door.send(b'{"action": "prepare"}') == [
        {"percent": 5, "message": "Making"},
        {"percent": 100, "message": "Ready"},
        {"ok": True, "done": "made", "template": ""},
    ]
    door.send(b'{"action": "prepare", "thorough": true}')
    assert door.done == [("prepare", "anna", False), ("prepare", "anna", True)]


def test_spawn_speaks_the_words_of_sudospawner(door: Door) -> None:
    answer = door.ask(action="spawn", args=[], env={"JUPYTERHUB_USER": "anna"})
    assert answer == {"ok": True, "pid": 4711, "start_time": 99}
    assert door.done == [("spawn", "anna", [], {"JUPYTERHUB_USER": "anna"})]


def test_start_spawns_what_needs_no_preparation(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_ready", lambda member: member.pw_name == "anna")
    monkeypatch.setattr(environment, "made_from", lambda _member: "py3.11-0")
    answer = door.ask(action="start", env={"JUPYTERHUB_USER": "anna"})
    assert answer == {"ok": True, "started": True, "pid": 4711, "start_time": 99, "template": "py3.11-0"}
    assert door.done == [("spawn", "anna", [], {"JUPYTERHUB_USER": "anna"})]


def test_start_does_nothing_where_there_is_something_to_prepare(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "is_ready", lambda _member: False)
    answer = door.ask(action="start", env={"JUPYTERHUB_USER": "anna"})
    assert answer == {"ok": True, "started": False, "pid": 0, "start_time": 0, "template": ""}
    assert door.done == []


def test_kill_speaks_the_words_of_sudospawner(door: Door) -> None:
    assert door.ask(action="kill", pid=4711, signal=15) == {"ok": True, "alive": True}
    door.ask(action="kill", pid=4711, signal=15, start_time=99)
    assert door.done == [("kill", 4711, 15, 0), ("kill", 4711, 15, 99)]


def test_log(door: Door) -> None:
    assert door.ask(action="log") == {"ok": True, "lines": ["one", "two"]}
    door.ask(action="log", name="maths")
    assert door.done == [("log", "anna", ""), ("log", "anna", "maths")]


def test_end_is_about_the_members_own_servers(door: Door) -> None:
    assert door.ask(action="end", pid=4711, start_time=99) == {"ok": True, "ended": 3}
    assert door.done == [("end", 1001, 4711, 99)]


def test_killed_is_noted(door: Door) -> None:
    assert door.ask(action="killed", name="maths", count=2) == {"ok": True}
    assert door.done == [("killed", "anna", "maths", 2)]


BAD_REQUESTS: list[Any] = [
    {"action": "end"},
    {"action": "end", "pid": 1},
    {"action": "end", "pid": "1", "start_time": 1},
    {"action": "end", "pid": True, "start_time": 1},
    {"action": "end", "pid": 1, "start_time": 1, "uid": 0},
    {"action": "killed", "name": "x"},
    {"action": "killed", "name": "x", "count": "2"},
    {"action": "killed", "name": "x", "count": 1, "text": "x"},
    {},
    [],
    {"action": ""},
    {"action": "exec", "args": ["sh"]},
    {"action": "__class__"},
    {"action": ["spawn"]},
    {"action": None},
    {"action": "prepare", "environment": "/tmp"},
    {"action": "prepare", "thorough": 1},
    {"action": "start"},
    {"action": "start", "env": []},
    {"action": "start", "env": {"A": 1}},
    {"action": "start", "env": {}, "args": []},
    {"action": "start", "env": {}, "thorough": True},
    {"action": "spawn"},
    {"action": "spawn", "args": []},
    {"action": "spawn", "args": [], "env": []},
    {"action": "spawn", "args": "x", "env": {}},
    {"action": "spawn", "args": [], "env": {}, "executable": "/bin/sh"},
    {"action": "spawn", "args": [], "env": {}, "cmd": ["sh"]},
    {"action": "kill"},
    {"action": "kill", "pid": "4711", "signal": 15},
    {"action": "kill", "pid": True, "signal": 15},
    {"action": "kill", "pid": 4711, "signal": True},
    {"action": "kill", "pid": 4711.0, "signal": 15},
    {"action": "kill", "pid": 4711, "signal": 15, "start_time": "x"},
    {"action": "log", "name": 1},
    {"action": "log", "path": "/etc/shadow"},
]


@pytest.mark.parametrize("request_", BAD_REQUESTS, ids=[json.dumps(request)[:40] for request in BAD_REQUESTS])
def test_anything_else_is_refused_with_a_sentence(door: Door, request_: Any) -> None:
    (answer,) = door.send(json.dumps(request_).encode())
    assert (answer["ok"], answer["status"]) == (False, 2) and answer["error"]
    assert door.done == []


@pytest.mark.parametrize("raw", [b"", b"x", b"[" * 100_000, b'{"action": "prepare"', b"\xff", b"x" * 300_000])
def test_nonsense_is_answered_as_well(door: Door, raw: bytes) -> None:
    (answer,) = door.send(raw)
    assert answer["ok"] is False and door.done == []


@pytest.mark.parametrize("uid", [0, 998, 1002, 4711])
def test_who_is_no_member_gets_nothing(door: Door, uid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    door.as_whom(uid)
    monkeypatch.setattr(json_lines, "read_request", must_not_be_called)
    answer = door.ask(action="spawn", args=[], env={})
    assert (answer["ok"], answer["status"]) == (False, 4)
    assert door.done == []


@pytest.mark.parametrize(("uid", "effective"), [(1001, 0), (998, 1001), (0, 1001)])
def test_mixed_identities_get_nothing(door: Door, uid: int, effective: int) -> None:
    door.as_whom(uid, effective)
    assert door.ask(action="prepare")["ok"] is False
    assert door.done == []


def test_who_is_no_member_any_more_gets_nothing(door: Door, people: People) -> None:
    people.groups["jupyterhub"][1].remove("anna")
    assert from_json(door.ask(action="prepare")["error"]) == "anna is not a member"


def test_an_error_is_an_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(*_args: Any) -> Started:
        raise FamilyError("no environment yet", "start it again")

    monkeypatch.setattr(server, "spawn", spawn)
    answer = door.ask(action="spawn", args=[], env={})
    assert answer == {"ok": False, "error": "no environment yet", "hint": "start it again", "status": 1}
