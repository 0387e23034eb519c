"""lean.waiting: a process that is prepared ahead becomes the server it was meant for, or ends and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family.cli.base import servers
from jupyterhub4family.common import paths
from jupyterhub4family.lean import waiting
from jupyterhub4family.user import server_activity, waiting_server
from tests.unit.helpers import TIMEOUT, wait_until
from tests.unit.lean.environment import START, Environment

#: What the server finds when it runs.
PROBE = """
import os, sys
links = {}
for one in os.listdir("/proc/self/fd"):
    try:
        links[one] = os.readlink("/proc/self/fd/" + one)
    except OSError:
        pass  # that was the folder itself
result = {"variables": dict(os.environ), "argv": sys.argv, "pid": os.getpid(), "path": sys.path[0],
          "sockets": [one for one in links.values() if one.startswith("socket")],
          "comm": open("/proc/self/comm").read().strip(),
          "ours": [one for one in sys.modules if one.startswith("jupyterhub4family")]}
"""
MARKER = "/user/anna/"


class Waiting:
    """A real process that waits, begun as the mediator begins it."""

    def __init__(self, environment: Environment, seconds: float = 60, **variables: str) -> None:
        self.environment = environment
        self.home = environment.site.parent
        self.path = self.home / paths.MEMBER_WAITING
        self.path.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY)
        #: Its own path is too long for a socket.
        self.address = f"/proc/self/fd/{directory}/{self.path.name}"
        self.variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(environment.site),
            "LC_CTYPE": "C.UTF-8",
            "PROBE": PROBE,
            waiting.MARKER: MARKER,
            **variables,
        }
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(4)
            self.process = subprocess.Popen(
                [sys.executable, str(START), str(environment.program), "an argument"],
                env={**self.variables, waiting.ORDER: f"{listener.fileno()} {seconds}"},
                cwd=self.home,
                pass_fds=[listener.fileno()],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def until_it_waits(self) -> Waiting:
        comm = Path(f"/proc/{self.process.pid}/comm")
        wait_until(lambda: comm.read_text().strip() == waiting.NAME, "the process to wait")
        return self

    def visit(self, request: bytes, last_word: Optional[bytes] = b"go\n") -> bytes:
        """What it answers."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(4 * TIMEOUT)
            client.connect(self.address)
            client.sendall(request)
            answer = client.recv(1000)
            if answer and last_word is not None:
                client.sendall(last_word)
        return answer

    def ask(self, last_word: Optional[bytes] = b"go\n", /, **variables: str) -> bytes:
        return self.visit(json.dumps({**self.variables, **variables}).encode() + b"\n", last_word)

    def ended(self) -> tuple[int, str, str]:
        """Its status, and all that it has written."""
        out, err = self.process.communicate(timeout=4 * TIMEOUT)
        return self.process.returncode, out, err

    def found(self) -> Any:
        _status, out, err = self.ended()
        lines = [line.removeprefix("FOUND ") for line in out.splitlines() if line.startswith("FOUND ")]
        assert len(lines) == 1, out + err
        return json.loads(lines[0])


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.fixture
def waiter(environment: Environment) -> Iterator[Waiting]:
    made = Waiting(environment).until_it_waits()
    yield made
    made.process.kill()
    made.process.communicate()


def test_it_becomes_the_server_that_a_start_would_have_made(environment: Environment, waiter: Waiting) -> None:
    answer = waiter.ask(JUPYTERHUB_API_TOKEN="secret", JUPYTERHUB_USER="anna")
    found = waiter.found()
    assert json.loads(answer) == {"pid": waiter.process.pid} and found["pid"] == waiter.process.pid
    usual = environment.run(PROBE, "an argument").result
    assert found["argv"] == usual["argv"] and found["path"] == usual["path"] and found["ours"] == []
    assert found["sockets"] == [] and found["comm"] == usual["comm"], "nothing is left of its waiting"
    wanted = {**waiter.variables, "JUPYTERHUB_API_TOKEN": "secret", "JUPYTERHUB_USER": "anna"}
    assert found["variables"] == wanted
    assert not waiter.path.exists()
    environ = ("secret", waiting.ORDER)
    assert all(word not in json.dumps(usual) for word in environ)


def test_whoever_presses_start_at_once_gets_it_as_well(environment: Environment) -> None:
    """It has hardly begun to import: they wait for less than a start from nothing takes."""
    made = Waiting(environment)
    assert json.loads(made.ask(JUPYTERHUB_USER="anna"))["pid"] == made.process.pid
    assert made.found()["variables"]["JUPYTERHUB_USER"] == "anna"


def test_it_ends_after_its_time(environment: Environment) -> None:
    made = Waiting(environment, seconds=0.2)
    assert made.ended() == (0, "", "") and not made.path.exists()


def test_it_leaves_the_socket_of_one_that_came_after_it(environment: Environment) -> None:
    made = Waiting(environment, seconds=2).until_it_waits()
    made.path.unlink()
    made.path.write_text("another one's")
    assert made.ended() == (0, "", "") and made.path.exists()


@pytest.mark.parametrize("what", ["installed", "upgraded", "changed", "removed"])
def test_it_is_never_older_than_its_environment(environment: Environment, waiter: Waiting, what: str) -> None:
    site = environment.site
    if what == "installed":
        (site / "new-1.dist-info").mkdir()
    elif what == "upgraded":
        (site / "jupyterlab-4.6.6.dist-info").rename(site / "jupyterlab-4.6.7.dist-info")
    elif what == "changed":
        environment.write("jupyter_server/auth/__init__.py", "raise SystemExit('changed')")
    else:
        (site / "jupyter_server" / "auth" / "logout.py").unlink()
    assert waiter.ask() == b"", "a start from nothing comes next"
    assert waiter.ended() == (0, "", "") and not waiter.path.exists()


def test_what_was_installed_while_it_imported_is_too_new(environment: Environment) -> None:
    (environment.site / "new-1.dist-info").mkdir()
    os.utime(environment.site, ns=(time.time_ns() + 10**11,) * 2)
    made = Waiting(environment)
    assert made.ended() == (0, "", "") and not made.path.exists()


@pytest.mark.parametrize("name", ["PATH", "LC_CTYPE", "PYTHONPATH"])
def test_other_variables_are_another_server(waiter: Waiting, name: str) -> None:
    assert waiter.ask(**{name: "/other"}) == b""
    assert waiter.ended() == (0, "", "")


def test_another_server_of_the_members_is_not_it(waiter: Waiting) -> None:
    assert waiter.ask(JUPYTERHUB_SERVICE_PREFIX="/user/anna/maths/") == b""
    assert waiter.ask(JUPYTERHUB_USER="anna"), "it waits on"
    assert waiter.found()["variables"][waiting.MARKER] == MARKER


@pytest.mark.parametrize(
    "text",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b'{"PATH": 1}\n',
        b"{" * 100_000 + b"\n",
        b'{"a": "' + b"x" * waiting.LONGEST_REQUEST + b'"}\n',
        b"\xff\n",
    ],
    ids=range(7),
)
def test_nonsense_changes_nothing(waiter: Waiting, text: bytes) -> None:
    # It does not read to the end what is too long.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert waiter.visit(text) == b""
    assert waiter.ask() and waiter.found()


def test_who_says_nothing_keeps_nobody_out_for_long(waiter: Waiting) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(waiter.address)
        began = time.monotonic()
        assert waiter.ask()
        assert time.monotonic() - began < waiting.TIMEOUT + TIMEOUT
    assert waiter.found()


@pytest.mark.parametrize("last_word", [None, b"no\n", b"go"], ids=["gone", "no", "half"])
def test_a_mediator_that_is_ended_meanwhile_leaves_no_server(waiter: Waiting, last_word: Optional[bytes]) -> None:
    """The hub would never hear of it."""
    assert waiter.ask(last_word)
    assert waiter.ended() == (0, "", "")


def test_an_environment_that_was_not_tried_is_left_to_the_start(tmp_path: Path) -> None:
    """Which says in the log why it is plain; nobody has asked for this one."""
    made = Waiting(Environment(tmp_path, jupyterhub="1.0"))
    status, out, err = made.ended()
    assert (status, out, err) == (1, "", "")


def test_what_member_and_process_know_of_each_other_is_the_same() -> None:
    assert waiting.ORDER == waiting_server.ORDER
    assert waiting.SHOWN == server_activity.SHOWN
    assert str(paths.MEMBER_WAITING) == waiting.SOCKET
    assert waiting.NAME == servers.WAITING and len(waiting.NAME) <= 15
