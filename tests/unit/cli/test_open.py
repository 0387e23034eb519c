"""cli.open: the desktop's browser where there is one, the address where there is none."""

from __future__ import annotations

import os
import shutil

import pytest

from jupyterhub4family.cli.main import main
from jupyterhub4family.common import portal
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings


@pytest.mark.parametrize(
    "case",
    [
        ("DISPLAY", "/usr/bin/xdg-open", 1001, True),
        ("WAYLAND_DISPLAY", "/usr/bin/xdg-open", 1001, True),
        ("DISPLAY", None, 1001, False),
        ("TERM", "/usr/bin/xdg-open", 1001, False),
        ("DISPLAY", "/usr/bin/xdg-open", 0, False),
    ],
)
def test_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: tuple[str, str | None, int, bool]
) -> None:
    variable, program, uid, opens = case
    became: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, args, _environment: became.append((path, args)))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_more: program)
    monkeypatch.setattr(portal, "portal_urls", lambda _settings: ["http://box:8000/", "http://127.0.0.1:8000/"])
    monkeypatch.setattr(effective, "settings_in_use", lambda: (Settings(), None))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "x")
    assert main(["open"]) == 0
    assert "http://box:8000/" in capsys.readouterr().out
    assert became == ([("/usr/bin/xdg-open", ["xdg-open", "http://box:8000/"])] if opens else [])
