"""root.control: the words of `start`, `stop` and `restart` do what they say."""

from __future__ import annotations

import json
import os
import sys

import pytest

from jupyterhub4family.common.errors import ExitStatus
from jupyterhub4family.root.base import supervisor
from jupyterhub4family.root.setup import control, setup


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "ensure_supervision", lambda enable: calls.append(f"supervision {enable}"))
    monkeypatch.setattr(setup, "ensure_apt_files", lambda: calls.append("apt"))
    monkeypatch.setattr(setup, "end_all_servers", lambda: calls.append("servers"))
    monkeypatch.setattr(supervisor, "start", lambda: calls.append("start"))
    monkeypatch.setattr(supervisor, "stop", lambda: calls.append("stop"))
    monkeypatch.setattr(supervisor, "restart", lambda with_proxy: calls.append(f"restart {with_proxy}"))
    return calls


@pytest.mark.parametrize(
    ("args", "calls"),
    [
        ("start", ["supervision False", "start"]),
        ("stop", ["stop"]),
        ("stop --servers", ["stop", "servers"]),
        ("restart", ["supervision False", "apt", "restart False"]),
        ("restart --all", ["supervision False", "apt", "restart True"]),
    ],
)
def test_words(
    done: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: str,
    calls: list[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["control", *args.split()])
    assert control.main() == 0
    assert done == calls and json.loads(capsys.readouterr().out) == {"ok": True}


@pytest.mark.parametrize("args", ["", "reload", "start now", "stop --all", "restart --servers"])
def test_other_words_are_refused(done: list[str], monkeypatch: pytest.MonkeyPatch, args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["control", *args.split()])
    with pytest.raises(SystemExit) as caught:
        control.main()
    assert caught.value.code == 2 and done == []


@pytest.mark.parametrize("args", ["start", "stop --servers", "restart --all"])
def test_only_root_may(
    done: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(sys, "argv", ["control", *args.split()])
    assert control.main() == ExitStatus.PERMISSION
    assert done == [] and not json.loads(capsys.readouterr().out)["ok"]
