"""Every door, a hundred thousand requests: each gets an answer or a FamilyError, and nothing happens that may not.

What stands around the doors (accounts, PAM, signals, gpasswd) is replaced by something that only watches; with the
real ones the same requests go through sudo in tests/machine/attacks/test_requests.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pwd
import random
import syslog
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Callable, NoReturn

import pytest

pytest.importorskip("hypothesis")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import from_json
from jupyterhub4family.common.paths import MEMBER_ENVIRONMENT
from jupyterhub4family.common.protocol import calling, doors, serving, shapes
from jupyterhub4family.common.protocol.json_lines import error_of, read_request, unwrap
from jupyterhub4family.common.protocol.responses import ResponseError
from jupyterhub4family.common.system import accounts, processes
from jupyterhub4family.root.base import run_dir
from jupyterhub4family.root.doors import administrators, authenticate, limit_server, members, pam, tries
from jupyterhub4family.root.doors import environment as environment_door
from jupyterhub4family.root.doors.pam import Verdict
from jupyterhub4family.user import environment, mediator, server
from tests.unit import hostile
from tests.unit.helpers import People

#: 6 x 20,000 requests that were made for doors, and some thousand that hypothesis thinks of.
EACH = 20_000
many = settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
BYTES = st.binary(max_size=200) | st.integers(0, 2**32).map(lambda seed: hostile.raw(random.Random(seed)))

Door = Callable[[Mapping[str, Any]], Any]

#: The doors that have a watcher below; test_registry.py compares them with the registry.
WATCHED = ("authenticate", "members", "mediator", "environment", "confine")
#: And what reads their answers.
DOORS = [*WATCHED, "answers"]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The doors with watchers around them, by name."""
    with pytest.MonkeyPatch.context() as patch:
        yield Watched(patch, tmp_path_factory.mktemp("doors")).doors


class Watched:
    """What stands around the doors, and what must never be done to it."""

    def __init__(self, patch: pytest.MonkeyPatch, directory: Path) -> None:
        people = People(patch)
        people.add("root", 0)
        people.add("jupyterhub", 998)
        people.add("www-data", 33)
        people.add("nobody", 65534)
        self.alice = people.add("alice", 1001, "jupyterhub", home=directory)
        people.add("boss", 1002, "jupyterhub", "sudo")
        self._around_authenticate(patch, directory)
        self._around_members(patch, directory)
        self._around_mediator(patch, directory)
        patch.setattr(environment_door, "give", lambda member: Path("/given", member.pw_name))
        patch.setattr(limit_server, "callers_process", lambda _member: 1)
        patch.setattr(limit_server, "confine", lambda member, _pid: member.pw_name)
        self.doors: dict[str, Door] = {
            "authenticate": self.authenticate,
            "members": lambda request: opened(members.HANDLERS, False, request),
            "mediator": lambda request: opened(mediator.HANDLERS, self.alice, request),
            "environment": lambda request: opened(environment_door.HANDLERS, self.alice, request),
            "confine": lambda request: opened(limit_server.HANDLERS, self.alice, request),
            "answers": self.answers,
        }

    def _around_authenticate(self, patch: pytest.MonkeyPatch, directory: Path) -> None:
        class Libpam:
            def check(self, service: str, name: str, password: str, address: str) -> Verdict:
                # boss is a member as well; everybody else is asked about as nobody.
                assert service == "jupyterhub4family" and name in ("alice", "boss", authenticate.NOBODY)
                assert "\0" not in password and len(password) <= 1024
                password.encode()  # nothing that PAM could not be told
                assert len(address) <= 64 and address.isprintable()
                return Verdict(7, 19)

        def log(_level: int, sentence: str) -> None:
            assert sentence.isprintable() and len(sentence) < 250

        patch.setattr(authenticate, "Libpam", Libpam)
        patch.setattr(authenticate, "TALLY_DIRECTORY", directory / "tally")
        patch.setattr(pam, "hash_in_vain", lambda _password: None)
        patch.setattr(tries, "_state", lambda: contextlib.nullcontext(tries.Lanes({}, 0.0)))
        patch.setattr(time, "sleep", lambda _seconds: None)
        patch.setattr(syslog, "openlog", lambda *_args: None)
        patch.setattr(syslog, "syslog", log)

    def _around_members(self, patch: pytest.MonkeyPatch, directory: Path) -> None:
        def removed(account: pwd.struct_passwd) -> doors.MemberResult:
            assert account.pw_name in ("alice", "boss")
            return doors.MemberResult(account.pw_name, "removed")

        def added(account: pwd.struct_passwd) -> doors.MemberResult:
            assert account.pw_name == "alice", "and not who can become root"
            return doors.MemberResult(account.pw_name, "added")

        patch.setattr(members, "_add", added)
        patch.setattr(members, "_remove", removed)
        patch.setattr(administrators, "ways_to_root", accounts.administrator_groups)
        patch.setattr(paths, "ALLOWED_ADMINISTRATORS", directory / "allowed")
        patch.setattr(run_dir, "RUN_DIR", directory)
        patch.setattr(run_dir, "ensure_run_dir", lambda: None)

    def _around_mediator(self, patch: pytest.MonkeyPatch, directory: Path) -> None:
        def start(args: list[str], variables: Mapping[str, str], *_more: object) -> server.Started:
            assert args[:2] == [
                str(directory / MEMBER_ENVIRONMENT / "bin" / name) for name in ("python", "jupyterhub-singleuser")
            ]
            assert all(word.startswith("--ServerKernelManager.transport=") for word in args[2:]), (
                "no words of the hub's"
            )
            assert set(variables) <= basics | server.HUB_VARIABLES
            assert {key: variables[key] for key in known} == known
            return server.Started(1, 1)

        def killed(_pid: int, number: int) -> NoReturn:
            assert number == 0, "there is no server here that could get a signal"
            raise ProcessLookupError

        program = directory / MEMBER_ENVIRONMENT / "bin" / "jupyterhub-singleuser"
        program.parent.mkdir(parents=True)
        program.touch()
        known = server.server_environment(self.alice, {})
        basics = set(known)
        patch.setattr(server, "_start_detached", start)
        patch.setattr(os, "kill", killed)
        (directory / "proc").mkdir()
        patch.setattr(processes, "PROC", directory / "proc")
        patch.setattr(environment, "prepare", lambda *_args: environment.NOTHING)
        patch.setattr(environment, "is_ready", lambda member: member is self.alice)

    def authenticate(self, untrusted: Mapping[str, Any]) -> None:
        answer = opened(authenticate.HANDLERS, None, untrusted)
        assert answer == doors.Verdict(allowed=False, reason="refused")

    def answers(self, untrusted: Mapping[str, Any]) -> None:
        """What a door answers is read by the hub and by root's programs: a member's door may lie."""
        for text in (from_json(untrusted), *map(from_json, untrusted.values())):
            assert len(text) <= 300_000
        assert isinstance(error_of(untrusted).status, ExitStatus)
        action = doors.ACTIONS[len(str(untrusted)) % len(doors.ACTIONS)]
        with contextlib.suppress(ResponseError):
            assert type(calling.understood(action, dict(untrusted))) is action.answer
        with contextlib.suppress(FamilyError):
            unwrap(untrusted)


def opened(handlers: Sequence[serving.Handler[Any]], caller: Any, untrusted: Mapping[str, Any]) -> Any:
    """What a door does for who may open it; its answer can be written, and is one that its caller understands."""
    handler, request = serving.choose(handlers, dict(untrusted))
    assert type(request) is handler.action.request
    answer = handler.function(caller, request)
    assert calling.understood(handler.action, json.loads(json.dumps(shapes.encode(answer)))) == answer
    return answer


def send(door: Door, data: bytes) -> str:
    """What comes of these bytes: `done`, or the kind of refusal. Anything but a FamilyError fails the test."""
    try:
        door(read_request(io.BytesIO(data)))
    except FamilyError as error:
        assert str(error.message) and isinstance(error.status, ExitStatus)
        return type(error).__name__
    return "done"


@pytest.mark.parametrize("name", DOORS)
def test_twenty_thousand_hostile_requests(everything: dict[str, Door], name: str) -> None:
    outcomes: dict[str, int] = {}
    for number, data in enumerate(islice(hostile.endless(seed=2026), EACH)):
        try:
            outcome = send(everything[name], data)
        except Exception as error:
            raise AssertionError(f"request {number}, {data[:500]!r}") from error
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    # Had all been refused at the first look, nothing behind it would have been tested.
    assert outcomes["done"] > 100 and outcomes["UsageError"] > 1000, outcomes


@pytest.mark.parametrize("name", DOORS)
def test_what_hypothesis_thinks_of(everything: dict[str, Door], name: str) -> None:
    @many
    @given(BYTES)
    def check(data: bytes) -> None:
        send(everything[name], data)

    check()
