"""The debugger's sockets in members' kernels: for their owner only. tests/machine/test_kernels.py tries it for real."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.service.releases import contents
from tests.unit.helpers import ROOT

IPYTHON = ROOT / "data/usr/share/jupyterhub4family/ipython"


@pytest.fixture
def owner_only() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("owner_only", IPYTHON / "debugger" / "owner_only.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def create_server(owner_only: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., socket.socket]:
    """debugpy's function as it is after `install`."""
    sockets = types.ModuleType("debugpy.common.sockets")
    common = types.ModuleType("debugpy.common")

    def plain(host: str, port: int = 0, timeout: float | None = None) -> socket.socket:
        server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        server.bind((host, port))
        server.settimeout(timeout)
        server.listen()
        return server

    for module, name, value in ((sockets, "create_server", plain), (common, "sockets", sockets)):
        setattr(module, name, value)
    for name, module in (("debugpy", types.ModuleType("debugpy")), ("debugpy.common", common)):
        monkeypatch.setitem(sys.modules, name, module)
    owner_only.install()
    made: Callable[..., socket.socket] = vars(sockets)["create_server"]
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_its_owner_is_let_in_and_nobody_else(
    owner_only: types.ModuleType,
    create_server: Callable[..., socket.socket],
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        server = create_server(host, timeout=5.0)
    except OSError:
        pytest.skip(f"no {host} here")
    assert server.gettimeout() == 5.0
    with server, socket.create_connection(server.getsockname()[:2]) as client:
        connection, address = server.accept()
        with connection:
            assert owner_only.owner(connection) == os.getuid() and address == client.getsockname()
    server = create_server(host, timeout=0.5)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    with server, socket.create_connection(server.getsockname()[:2]) as client:
        with pytest.raises(OSError):
            server.accept()
        assert client.recv(1) == b"", "shut before a byte was read"


def test_who_has_gone_already_is_nobody(
    owner_only: types.ModuleType, create_server: Callable[..., socket.socket]
) -> None:
    with create_server("127.0.0.1", timeout=0.5) as server:
        client = socket.create_connection(server.getsockname())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(OSError):
            server.accept()


def test_a_port_for_other_computers_is_its_owners_own_wish(create_server: Callable[..., socket.socket]) -> None:
    with create_server("0.0.0.0") as server:
        assert type(server) is socket.socket


def test_it_is_laid_where_ipython_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "IPYTHON", IPYTHON)
    contents._lay_ipython(tmp_path)
    assert os.access(tmp_path / "etc/ipython/debugger/adapter", os.X_OK)
    reported: list[Any] = []
    debugpy = types.ModuleType("debugpy")
    plain = {"listen": reported.append, "configure": lambda **options: reported.append(options)}
    vars(debugpy).update(plain)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    startup = compile((tmp_path / "etc/ipython/startup/00-debugger.py").read_text("utf-8"), "startup", "exec")
    namespace: dict[str, Any] = {}
    monkeypatch.delitem(sys.modules, "debugpy", raising=False)
    exec(startup, namespace)  # a kernel without a debugger starts as well
    monkeypatch.setitem(sys.modules, "debugpy", debugpy)
    for name in ("debugpy.common", "debugpy.common.sockets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sockets = sys.modules["debugpy.common.sockets"]
    vars(sys.modules["debugpy.common"])["sockets"] = sockets
    vars(sockets)["create_server"] = object()
    exec(startup, namespace)
    assert not reported and not hasattr(vars(sockets)["create_server"], "owner_only"), (
        "nothing happens before it is used"
    )
    for _twice in range(2):
        vars(debugpy)["listen"](("127.0.0.1", 1))
    configured = {"python": str(tmp_path / "etc/ipython/debugger/adapter")}
    assert reported == [configured, ("127.0.0.1", 1)] * 2 and vars(sockets)["create_server"].owner_only
    assert not {name for name in namespace if not name.startswith("__")}, "notebooks see nothing of it"
