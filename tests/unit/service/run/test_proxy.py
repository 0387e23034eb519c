"""service.run_proxy: the setup page gives way to the proxy, whose secrets stand in no process list."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.paths import COMPLETE_MARKER
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import ports
from jupyterhub4family.common.system.processes import start_time
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.releases import setup_page
from jupyterhub4family.service.run import handover, proxy
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import DATA, TIMEOUT, free_port, wait_until


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module, name in (
        (proxy, "PID_FILE"),
        (proxy, "PROGRAM_FILE"),
        (tokens, "PROXY_TOKEN"),
        (tokens, "ROUTES_TOKEN"),
        (tokens, "GATE_KEY"),
    ):
        monkeypatch.setattr(module, name, tmp_path / name)
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(paths, "SOCKETS", tmp_path / "sockets")
    monkeypatch.setattr(paths, "CURRENT_RELEASE", tmp_path / "release")
    page = DATA / "usr/share/jupyterhub4family/setup-page.html"
    monkeypatch.setattr(setup_page.SetupPage.__init__, "__defaults__", (page,))
    return tmp_path


def complete(directory: Path) -> None:
    (directory / "release").mkdir()
    (directory / "release" / COMPLETE_MARKER).touch()


def test_the_running_proxy_is_found_by_pid_and_start_time(directory: Path) -> None:
    assert proxy.running_proxy() is None
    process = subprocess.Popen(["/bin/sleep", "60"])
    try:
        started = start_time(process.pid)
        assert started is not None
        proxy.PID_FILE.write_text(f"{process.pid} {started}\n", "ascii")
        assert proxy.running_proxy() == process.pid
        proxy.PID_FILE.write_text(f"{process.pid} {started + 1}\n", "ascii")
        assert proxy.running_proxy() is None
    finally:
        process.kill()
        process.wait(TIMEOUT)


def test_a_proxy_is_renewed_by_ending_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = []
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
        proxy.end_proxy()
        assert signals == []
        meanwhile.setattr(proxy, "running_proxy", lambda: 4711)
        proxy.end_proxy()
    assert signals == [(4711, signal.SIGTERM)]


@pytest.mark.parametrize("text", ["", "x", "1", "0 0", "1 0", "-1 0", "1 2 3", "\0"])
def test_a_pid_file_that_makes_no_sense_is_no_proxy(directory: Path, text: str) -> None:
    proxy.PID_FILE.write_text(text, "ascii")
    assert proxy.running_proxy() is None


def test_the_setup_page_is_there_until_there_is_a_release(directory: Path) -> None:
    settings = Settings(port=free_port(), listen="local", https=False)
    port = handover.take(ports.PORTAL, settings)
    serving = threading.Thread(target=proxy._serve_setup_page, args=(settings, port), daemon=True)
    serving.start()
    wait_until(lambda: status_of(settings.port) == 503, "the setup page")
    complete(directory)
    serving.join(TIMEOUT)
    assert not serving.is_alive()
    with pytest.raises(OSError, match="in use"):
        ports.open_port(ports.places(settings)[ports.PORTAL])
    port.close()
    assert status_of(settings.port) is None, "the page has left nothing behind"


def status_of(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize(("listen", "address"), [("lan", ""), ("local", "127.0.0.1")])
def test_how_the_proxy_is_started(directory: Path, monkeypatch: pytest.MonkeyPatch, listen: str, address: str) -> None:
    started: list[Any] = []

    def execve(*arguments: Any) -> None:
        started.extend(arguments)
        raise SystemExit

    complete(directory)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(os, "chdir", lambda _path: None)
    monkeypatch.setenv("NODE_OPTIONS", "--require /tmp/bad.js")
    with pytest.raises(SystemExit):
        with socket.socket() as port:
            proxy._become_proxy(Settings(port=9000, hub_port=9001, listen=listen), port)
    _program, arguments, variables = started
    for file in (directory / "PROXY_TOKEN", directory / "ROUTES_TOKEN", directory / "GATE_KEY"):
        secret = file.read_text("ascii").strip()
        assert len(secret) == 64
        assert not any(secret in word for word in [*arguments, *variables.values()])
        assert str(file) in arguments[-1]
    given = json.loads(arguments[-1])
    assert given["ip"] == address and given["port"] == 9000
    assert given["hubSocket"] == str(paths.HUB_SOCKET) and given["apiSocket"] == str(paths.PROXY_API_SOCKET)
    assert given["https"]["check"] == list(proxy.CHECK_CERTIFICATES)
    assert set(given["plain"]["refused"]) == set(given["gate"]["refused"]) == {"en", "de"}
    assert set(variables) == {"PATH", "HOME", "LANG"}
    assert proxy.running_proxy() == os.getpid()
    assert proxy.PID_FILE.stat().st_mode & 0o777 == 0o600


def test_without_https_there_is_no_certificate(directory: Path) -> None:
    settings = Settings(listen="local", https=False)
    assert proxy._configuration(settings, directory, 3)["https"] is None


def test_a_certificate_is_made_only_where_none_is(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(paths, "TLS", directory)

    def run(call: Call) -> CompletedProcess:
        arguments = call.args
        called.append(arguments)
        return CompletedProcess(0, "", "")

    FakePrograms(monkeypatch).answer("*", run)
    proxy.ensure_certificate()
    assert called == [list(proxy.CHECK_CERTIFICATES)]
    for name in ("portal.crt", "portal.key", "ca.crt"):
        (directory / name).touch()
    proxy.ensure_certificate()
    assert len(called) == 1


def test_a_proxy_of_an_older_program_is_renewed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[bool] = []
    monkeypatch.setattr(proxy, "end_proxy", lambda: renewed.append(True))
    monkeypatch.setattr(proxy, "LAUNCHER", directory / "launch.js")
    proxy.end_outdated_proxy()
    assert not renewed, "none runs"
    monkeypatch.setattr(proxy, "running_proxy", lambda: 4711)
    proxy.end_outdated_proxy()
    assert len(renewed) == 1, "of one from before these notes nothing is known"
    proxy.PROGRAM_FILE.write_text(proxy._program(), "ascii")
    proxy.end_outdated_proxy()
    assert len(renewed) == 1
    (directory / "plain.js").write_text("// mended", "ascii")
    proxy.end_outdated_proxy()
    assert len(renewed) == 2
