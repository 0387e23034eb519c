"""service.run.ports and hold_ports: ports come from whoever holds them, and nobody else gets in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports, supervision
from jupyterhub4family.common.state.ports import HUB, PORTAL, Place
from jupyterhub4family.common.system import programs, sockets
from jupyterhub4family.service.run import handover, hold_ports
from tests.unit.helpers import ROOT, free_port, wait_until


def settings_here() -> Settings:
    return Settings(port=free_port(), hub_port=free_port(), listen="local")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings in use, and a state in a folder with a short name (unix(7): a socket's has at most 107 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="ports-"))
    result = settings_here()
    monkeypatch.setattr(paths, "STATE", directory)
    monkeypatch.setattr(paths, "SOCKETS", directory / "sockets")
    monkeypatch.setattr(paths, "HOLDER_SOCKET", directory / "sockets/ports")
    monkeypatch.setattr(hold_ports, "LOCK", directory / "lock")
    monkeypatch.setattr(hold_ports, "PID_FILE", directory / "pid")
    monkeypatch.setattr(effective, "settings_in_use", lambda: (result, None))
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", directory / "no")
    yield result
    hold_ports.end()
    shutil.rmtree(directory)


def start_holder(directory: Path, settings: Settings) -> subprocess.Popen[bytes]:
    """A real holder, with the test's folder for its state."""
    program = f"""
import sys; sys.path.insert(0, {str(ROOT / "src")!r})
from pathlib import Path
from jupyterhub4family.common import paths
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
paths.STATE = Path({str(directory)!r})
paths.SOCKETS, paths.HOLDER_SOCKET = paths.STATE / "sockets", paths.STATE / "sockets/ports"
def wanted():
    chosen = paths.STATE / "settings"
    port, hub_port = map(int, chosen.read_text().split()) if chosen.exists() else ({settings.port}, {settings.hub_port})
    return Settings(port=port, hub_port=hub_port, listen="local"), None
effective.settings_in_use = wanted
from jupyterhub4family.service.run import hold_ports
hold_ports.LOCK, hold_ports.PID_FILE = paths.STATE / "lock", paths.STATE / "pid"
sys.argv = ["hold-ports"]
sys.exit(hold_ports.main())
"""
    return subprocess.Popen([sys.executable, "-c", program])


@pytest.fixture
def holder(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = start_holder(paths.STATE, settings)
    wait_until(lambda: all(_is_held(settings, name) for name in (PORTAL, HUB)), "the holder")
    yield process
    process.kill()
    process.wait()


def _is_held(settings: Settings, name: str) -> bool:
    given = ports.from_holder()
    place = ports.places(settings)[name]
    found = any(ports.is_at(one, place) for one in given)
    for one in given:
        one.close()
    return found


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def test_both_ports_are_handed_over_again_and_again(settings: Settings, holder: subprocess.Popen[bytes]) -> None:
    inodes = set()
    for name in (PORTAL, HUB, PORTAL):
        with contextlib.closing(handover.take(name, settings)) as port:
            assert not port.get_inheritable() and port.getsockname()[1] == getattr(
                settings, "port" if name == PORTAL else "hub_port"
            )
            inodes.add((name, os.fstat(port.fileno()).st_ino))
            with socket.create_connection(port.getsockname(), timeout=5) as client:
                client.sendall(b"x")
                assert port.accept()[0].recv(1) == b"x"
    assert len(inodes) == 2, "the very same socket each time"
    assert answers(settings.port) and answers(settings.hub_port), "and open while nobody serves"
    with pytest.raises(OSError, match="in use"):
        ports.open_port(Place("127.0.0.1", settings.port))


def test_a_holder_that_finds_a_port_taken_goes_on_trying(settings: Settings) -> None:
    squatter = ports.open_port(Place("127.0.0.1", settings.hub_port))
    process = start_holder(paths.STATE, settings)
    try:
        wait_until(lambda: _is_held(settings, PORTAL), "the one port")
        assert not _is_held(settings, HUB)
        squatter.close()
        wait_until(lambda: _is_held(settings, HUB), "the other one")
    finally:
        process.kill()
        process.wait()


def test_there_is_one_holder(settings: Settings, holder: subprocess.Popen[bytes]) -> None:
    assert hold_ports.holder() == holder.pid
    second = start_holder(paths.STATE, settings)
    assert second.wait(30) == 0 and hold_ports.holder() == holder.pid


def test_a_holder_of_what_is_wanted_is_left_alone(
    settings: Settings, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []

    def start_detached(args: object) -> None:
        started.append(args)

    monkeypatch.setattr(programs, "start_detached", start_detached)
    hold_ports.ensure_held()
    assert started == [] and holder.poll() is None
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", Path("/"))
    hold_ports.ensure_held()
    assert started == [], "where systemd is PID 1 it holds them"


def test_a_holder_follows_the_settings(
    settings: Settings, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = settings_here()
    (paths.STATE / "settings").write_text(f"{other.port} {other.hub_port}")
    monkeypatch.setattr(effective, "settings_in_use", lambda: (other, None))
    hold_ports.ensure_held()
    assert ports.are_held(other) and holder.poll() is None
    assert not answers(settings.port), "what is not wanted any more is let go"
    assert answers(settings.hub_port), "but not where members' servers think that the hub is"


def test_without_anybody_who_holds_it_a_port_is_opened(settings: Settings) -> None:
    with contextlib.closing(handover.take(PORTAL, settings)):
        assert answers(settings.port)
    assert not answers(settings.port)


def test_a_port_of_somebody_else_is_refused_by_name(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(ports.open_port(Place("127.0.0.1", settings.hub_port))):
        monkeypatch.setattr("pwd.getpwuid", lambda _uid: type("Account", (), {"pw_name": "ben"}))
        with pytest.raises(FamilyError, match=f"port {settings.hub_port} .*a program of ben has it") as caught:
            handover.take(HUB, settings)
    assert caught.value.status == ExitStatus.PORT_TAKEN and str(settings.hub_port) in caught.value.hint


def test_systemd_hands_over_by_number(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert handover.from_systemd({}) == []
    assert handover.from_systemd({"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "2"}) == [], "somebody else's"
    assert handover.from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == []
    with contextlib.closing(ports.open_port(Place("127.0.0.1", settings.port))) as port:
        monkeypatch.setattr(handover, "FIRST_DESCRIPTOR", port.dup().detach())
        (given,) = handover.from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
        assert ports.is_at(given, ports.places(settings)[PORTAL]) and not given.get_inheritable()
        given.close()


@pytest.mark.parametrize(
    ("opened", "wanted", "fits"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "", False),
        ("", "", True),
        ("", "127.0.0.1", False),
        ("127.0.0.2", "127.0.0.1", False),
    ],
)
def test_which_socket_is_the_one(opened: str, wanted: str, fits: bool) -> None:
    with contextlib.closing(ports.open_port(Place(opened, 0))) as port:
        number = port.getsockname()[1]
        assert ports.is_at(port, Place(wanted, number)) is fits
        assert not ports.is_at(port, Place(wanted, number + 1))
    left, right = socket.socketpair()
    with left, right:
        assert not ports.is_at(left, Place("", 0)), "and no socket of another kind"


def test_a_connection_that_nobody_has_taken_up(settings: Settings) -> None:
    for address in ("127.0.0.1", ""):
        with contextlib.closing(ports.open_port(Place(address, 0))) as port:
            with socket.create_connection(("127.0.0.1", port.getsockname()[1]), timeout=5) as client:
                assert not sockets.is_taken_up(client)
                with port.accept()[0]:
                    assert sockets.is_taken_up(client)
                assert sockets.is_taken_up(client), "it was, though it has ended"


def test_a_connection_that_was_handed_over_is_closed_at_once() -> None:
    """One that has data which nobody takes, and would wait for that to go (SO_LINGER)."""
    with socket.create_server(("127.0.0.1", 0)) as nobody_reads, socket.create_server(("127.0.0.1", 0)) as listening:
        lingering = socket.create_connection(nobody_reads.getsockname())
        lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
        lingering.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while lingering.send(bytes(65536)):
                pass
        lingering.setblocking(True)
        began = time.monotonic()
        (found,) = ports.as_sockets([lingering.detach(), os.dup(listening.fileno())])
        assert time.monotonic() - began < 5
        assert found.getsockname() == listening.getsockname()
        found.close()
