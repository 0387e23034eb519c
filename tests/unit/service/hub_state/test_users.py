"""service.tell_hub: the hub knows the members and nobody else, and a hub that does not run is no disaster."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.service.hub_state import tokens, users
from jupyterhub4family.service.hub_state.hub_api import HubApi, HubNotRunning
from jupyterhub4family.service.hub_state.tokens import Secret
from jupyterhub4family.service.hub_state.users import Hub
from tests.unit.helpers import People
from tests.unit.service.api import TOKEN, FakeHub


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    hub = FakeHub()
    yield hub
    hub.close()


@pytest.fixture
def hub(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    real_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real_sleep(min(seconds, 0.01)))
    return asking(fake.socket, monkeypatch)


def asking(hub_socket: Path, monkeypatch: pytest.MonkeyPatch, token: str = TOKEN) -> Hub:
    """A hub that is asked at a socket, with a token."""
    monkeypatch.setattr(tokens, "ensure_token", lambda _path: Secret(token))
    return Hub(HubApi(Path("/token"), hub_socket))


def test_add_makes_users_in_one_request(fake: FakeHub, hub: Hub) -> None:
    hub.add(["anna", "ben"])
    assert set(fake.users) == {"anna", "ben"} and fake.requests == ["POST /jupyterhub4family/members"]


def test_add_who_is_known_already(fake: FakeHub, hub: Hub) -> None:
    fake.add("anna", "")
    hub.add(["anna"])
    hub.add(["anna", "ben"])
    assert fake.users["anna"]["servers"], "nothing about a known user changes"
    hub.add([])
    assert len(fake.requests) == 2


def test_remove_stops_every_server_before_the_user_goes(fake: FakeHub, hub: Hub) -> None:
    fake.add("anna", "", "maths", "a b/c?d#é")
    hub.remove("anna")
    assert "anna" not in fake.users
    deletes = [line for line in fake.requests if line.startswith("DELETE")]
    assert deletes == [
        "DELETE /users/anna/server",
        "DELETE /users/anna/servers/maths",
        "DELETE /users/anna/servers/a%20b%2Fc%3Fd%23%C3%A9",
        "DELETE /users/anna",
    ]


def test_remove_who_is_not_known(fake: FakeHub, hub: Hub) -> None:
    hub.remove("anna")
    assert fake.requests == ["GET /users/anna"]


def test_remove_waits_for_a_server_that_is_just_starting(fake: FakeHub, hub: Hub) -> None:
    fake.add("anna", "", pending="spawn")
    hub.remove("anna")
    assert "anna" not in fake.users
    assert fake.requests.count("DELETE /users/anna/server") == 2


def test_a_server_that_does_not_stop_is_told(fake: FakeHub, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.add("anna", "")
    fake.looks_until_stopped = 10_000
    monkeypatch.setattr(users, "STOP_TIMEOUT", 0.5)
    with pytest.raises(FamilyError, match=r"servers of anna did not stop within 0\.5 seconds"):
        hub.remove("anna")
    assert "anna" in fake.users


def test_sync_makes_users_and_members_the_same(fake: FakeHub, hub: Hub) -> None:
    fake.add("anna")
    fake.add("old", "")
    hub.sync({"anna", "ben"})
    assert set(fake.users) == {"anna", "ben"}
    fake.requests.clear()
    hub.sync({"anna", "ben"})
    assert fake.requests == ["GET /users?offset=0&limit=100"], "the second time there is nothing to do"


@pytest.mark.parametrize("count", [99, 100, 101, 250])
def test_many_users_come_in_pages(fake: FakeHub, hub: Hub, count: int) -> None:
    names = {f"user{number}" for number in range(count)}
    for name in names:
        fake.add(name)
    hub.sync(names - {"user7"})
    assert set(fake.users) == names - {"user7"}


def test_a_hub_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubNotRunning) as caught:
        asking(tmp_path / "none", monkeypatch).add(["anna"])
    assert caught.value.status == 6 and TOKEN not in str(caught.value)


def test_a_hub_that_refuses_is_told_without_the_secret(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FamilyError, match="refused POST /jupyterhub4family/members: status 403") as caught:
        asking(fake.socket, monkeypatch, "wrong").add(["anna"])
    assert "wrong" not in str(caught.value)


def test_a_hub_that_was_started_anew_has_another_token(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = asking(fake.socket, monkeypatch)
    known = [Secret("of the last start"), Secret(TOKEN)]
    monkeypatch.setattr(tokens, "ensure_token", lambda _path: known.pop(0))
    hub.add(["anna"])
    assert len(fake.requests) == 2 and set(fake.users) == {"anna"}


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>something else has the hub's port</html>"),
        (200, b'{"name": "anna", "serv'),
        (0, b"SSH-2.0-OpenSSH_9.2\r\n"),
        (0, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"),
        (0, b""),
        (500, b"oops"),
        (302, b""),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_no_traceback(
    fake: FakeHub, hub: Hub, answer: tuple[int, bytes]
) -> None:
    fake.instead["GET /users/anna"] = answer
    with pytest.raises(FamilyError):
        hub.remove("anna")


# -- the program ---------------------------------------------------------------------------------


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: Any, hub_socket: Path
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(paths, "HUB_SOCKET", hub_socket)
    monkeypatch.setattr(tokens, "ensure_token", lambda _path: Secret(TOKEN))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(request).encode())))
    status = users.main()
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return status, answer


def test_the_program(
    fake: FakeHub, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people.add("anna", 1001, "jupyterhub")
    people.add("ben", 1002, gid=200)
    people.add("clara", 1003)
    people.add("jupyterhub", 998, gid=200)
    people.groups["jupyterhub"][1].extend(["root", "gone"])
    fake.add("old")
    assert call(monkeypatch, capsys, {"action": "synchronize"}, fake.socket) == (0, {"ok": True})
    assert set(fake.users) == {"anna", "ben"}
    assert call(monkeypatch, capsys, {"action": "know", "names": ["clara"]}, fake.socket) == (0, {"ok": True})
    assert call(monkeypatch, capsys, {"action": "forget", "names": ["clara", "ben"]}, fake.socket) == (0, {"ok": True})
    assert set(fake.users) == {"anna"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"action": "know", "names": ["anna"]}, 6),
        ({"action": "delete"}, 2),
        ({"action": "know", "names": "anna"}, 2),
        ({"names": ["anna"]}, 2),
        ([], 2),
    ],
)
def test_the_program_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, request_: Any, status: int
) -> None:
    got, answer = call(monkeypatch, capsys, request_, tmp_path / "none")
    assert got == status == answer["status"] and answer["ok"] is False and answer["error"]
