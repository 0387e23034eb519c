"""hub.ports: whose socket a connection to a port of 127.0.0.1 would reach."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyterhub4family.common.system import sockets
from jupyterhub4family.hub import ports
from tests.unit.helpers import free_port
from tests.unit.hub.doubles import no_answer

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
ALICE, BOB = 1001, 1002

pytestmark = pytest.mark.skipif(sys.byteorder == "big", reason="the tables below are those of a small-endian machine")


def line(address: str, port: int, uid: int, state: str = "0A") -> str:
    rest = "00000000:0000" if len(address) == 8 else "0" * 32 + ":0000"
    return f"   0: {address}:{port:04X} {rest} {state} 00000000:00000000 00:00000000 00000000  {uid} 0 4711 1 0\n"


LOOPBACK, EVERY, LAN = "0100007F", "00000000", "0501A8C0"
EVERY_V6, LOOPBACK_V6 = "0" * 32, "0" * 24 + "01000000"
MAPPED_LOOPBACK, MAPPED_LAN = "0000000000000000FFFF00000100007F", "0000000000000000FFFF00000501A8C0"

Tables = Callable[..., None]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """Fills the kernel's tables."""

    def fill(v4: str = "", v6: str = "") -> None:
        for name, lines in (("tcp", v4), ("tcp6", v6)):
            (tmp_path / name).write_text(HEAD + lines, "ascii")
        monkeypatch.setattr(sockets, "TABLES", (tmp_path / "tcp", tmp_path / "tcp6"))
        monkeypatch.setattr(sockets, "uid_of_listener", no_answer)

    return fill


@pytest.mark.parametrize("answers", [True, False])
def test_the_kernels_own_tables_are_understood(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not answers:
        monkeypatch.setattr(sockets, "uid_of_listener", no_answer)
    port = free_port()
    assert ports.owners(port) == frozenset()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        assert ports.owners(port) == frozenset(), "bound is not yet listening"
        listener.listen()
        assert ports.owners(port) == {os.getuid()}


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("address", ["::1", "::", "::ffff:127.0.0.1"])
def test_listeners_of_ipv6(address: str, answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not answers:
        monkeypatch.setattr(sockets, "uid_of_listener", no_answer)
    try:
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        listener.listen()
        # Nobody who connects to 127.0.0.1 gets to ::1.
        assert ports.owners(listener.getsockname()[1]) == (set() if address == "::1" else {os.getuid()})


@pytest.mark.parametrize(
    ("v4", "v6", "expected"),
    [
        ("", "", set()),
        (line(LOOPBACK, 4000, ALICE), "", {ALICE}),
        (line(EVERY, 4000, ALICE), "", {ALICE}),
        (line(LOOPBACK, 4001, BOB), "", set()),
        (line(LAN, 4000, BOB), "", set()),
        (line(LAN, 4000, BOB) + line(LOOPBACK, 4000, ALICE), "", {ALICE}),
        (line(LOOPBACK, 4000, BOB, state="01"), "", set()),
        (line(LOOPBACK, 4000, BOB, state="06") + line(LOOPBACK, 4000, ALICE), "", {ALICE}),
        ("", line(EVERY_V6, 4000, BOB), {BOB}),
        ("", line(LOOPBACK_V6, 4000, BOB), set()),
        ("", line(MAPPED_LOOPBACK, 4000, BOB), {BOB}),
        ("", line(MAPPED_LAN, 4000, BOB), set()),
        # The closer socket gets the connection.
        (line(LOOPBACK, 4000, ALICE), line(EVERY_V6, 4000, BOB), {ALICE}),
        (line(EVERY, 4000, ALICE), line(EVERY_V6, 4000, BOB), {ALICE}),
        (line(LOOPBACK, 4000, ALICE) + line(LOOPBACK, 4000, BOB), "", {ALICE, BOB}),
        (line(LOOPBACK, 4000, 0), "", {0}),
    ],
)
def test_who_would_answer(tables: Tables, v4: str, v6: str, expected: set[int]) -> None:
    tables(v4, v6)
    assert ports.owners(4000) == expected


def test_a_kernel_without_ipv6(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(line(LOOPBACK, 4000, ALICE))
    monkeypatch.setattr(sockets, "TABLES", (sockets.TABLES[0], Path("/nonexistent/tcp6")))
    assert ports.owners(4000) == {ALICE}
