"""root.adoption: sockets of a program that runs are taken over, and go on when it has ended."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.root.base import adoption
from tests.unit.helpers import People, free_port

#: Listens at the port that it is told, for ever.
LISTENER = """
import socket, sys, time
door = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(people: People, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """This test is the service."""
    people.add("jupyterhub", os.getuid(), gid=65534)
    result = Settings(port=free_port(), hub_port=free_port(), listen="local")
    monkeypatch.setattr(effective, "settings_in_use", lambda: (result, None))
    return result


def test_a_port_outlives_whoever_opened_it(settings: Settings) -> None:
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(settings.hub_port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert listener.stdout is not None and listener.stdout.readline() == "ready\n"
        try:
            (taken,) = adoption.sockets_of_service()
        except ValueError:
            pytest.skip("this kernel keeps processes of one account apart (yama), and the test is not root")
    finally:
        listener.kill()
        listener.wait()
    with contextlib.closing(taken):
        assert taken.getsockname() == ("127.0.0.1", settings.hub_port) and not taken.get_inheritable()
        with socket.create_connection(taken.getsockname(), timeout=5) as client:
            client.sendall(b"x")
            assert taken.accept()[0].recv(1) == b"x"


def test_other_peoples_and_other_ports_are_left_alone(settings: Settings, people: People) -> None:
    with socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", settings.port)):
        people.add("jupyterhub", os.getuid() + 1, gid=65534)
        assert adoption.sockets_of_service() == []
