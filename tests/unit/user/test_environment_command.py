"""user.own_environment: what a member's own command does with their environment."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from jupyterhub4family.common.system import accounts
from jupyterhub4family.user import environment_command
from tests.unit.helpers import People
from tests.unit.user.template import Home, add_package, site_of


class Command:
    """The program, run by the member to whom the home belongs."""

    def __init__(
        self, home: Home, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.home = home
        self._monkeypatch, self._capsys = monkeypatch, capsys
        people.accounts["anna"] = home.member
        people.groups["jupyterhub"][1].append("anna")
        # The tests may run as anybody.
        monkeypatch.setattr(accounts, "is_ordinary_uid", lambda _uid: True)
        monkeypatch.setattr(accounts, "never_a_member", lambda _account: None)

    def call(self, action: str) -> dict[str, Any]:
        """The answer; everything before it must be progress."""
        self._monkeypatch.setattr(sys, "argv", ["own-environment", action])
        mask = os.umask(0o022)
        try:
            status = environment_command.main()
        finally:
            os.umask(mask)
        *progress, answer = [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]
        assert all(set(event) == {"percent", "message"} for event in progress)
        assert status == answer.get("status", 0)
        return dict(answer)


@pytest.fixture
def command(home: Home, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(home, people, monkeypatch, capsys)


def test_status_before_there_is_one(command: Command) -> None:
    answer = command.call("status")
    assert answer["exists"] is False and answer["ok"] is True
    assert not command.home.env.exists(), "looking makes nothing"


def test_status(command: Command) -> None:
    command.home.prepare()
    add_package(command.home.env, "numpy", "2.0")
    command.home.new_template()
    answer = command.call("status")
    assert answer["place"] == str(command.home.env)
    assert (answer["exists"], answer["missing"], answer["changed"], answer["outdated"]) == (True, [], True, True)
    assert answer["made_by"] == "copy" and answer["extras"] == {"numpy": "2.0"}
    assert answer["versions"]["jupyterlab"] == "4.6.6"


def test_status_of_a_broken_one(command: Command) -> None:
    command.home.prepare()
    (command.home.env / "bin" / "python").unlink()
    assert command.call("status")["missing"] == ["python"]


def test_upgrade_keeps_the_extras(command: Command) -> None:
    command.home.prepare()
    add_package(command.home.env, "numpy", "2.0")
    command.home.uv("exit 0")
    assert command.call("upgrade")["done"] == "nothing"
    command.home.new_template()
    answer = command.call("upgrade")
    assert (answer["done"], answer["lost"]) == ("upgraded", [])
    assert command.home.uv_calls() == ["numpy==2.0"]
    assert (site_of(command.home.env) / "jupyterlab-4.7.0.dist-info").is_dir()
    assert [name[:10] for name in command.home.beside()] == ["env.aside-"]


def test_repair_and_examine_look_thoroughly(command: Command) -> None:
    command.home.prepare()
    assert command.call("repair")["done"] == "nothing"
    assert command.call("examine")["missing"] == []
    (site_of(command.home.env) / "notebook" / "app.py").write_text("1 / 0\n", "utf-8")
    assert command.call("status")["missing"] == [], "it looks complete"
    assert "ZeroDivisionError" in command.call("examine")["missing"][0]
    assert command.call("repair")["done"] == "mended"
    assert command.call("repair")["done"] == "nothing"


def test_reset_leaves_the_extras_out(command: Command) -> None:
    command.home.prepare()
    add_package(command.home.env, "numpy", "2.0")
    command.home.uv("exit 0")
    assert command.call("reset")["done"] == "reset"
    assert command.home.uv_calls() == []
    assert command.call("status")["extras"] == {}


@pytest.mark.parametrize("action", ["upgrade", "repair", "reset"])
def test_all_of_them_make_one_that_is_missing(command: Command, action: str) -> None:
    assert command.call(action)["ok"] is True
    assert command.home.works() and command.home.beside() == set()


def test_who_is_no_member_has_none(command: Command, people: People) -> None:
    people.groups["jupyterhub"][1].clear()
    for action in ("status", "examine", "upgrade", "repair", "reset"):
        answer = command.call(action)
        assert (answer["ok"], answer["status"]) == (False, 4)
    assert not command.home.env.exists()


@pytest.mark.parametrize("args", [[], ["delete"], ["status", "ben"]])
def test_other_words_are_refused(monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["own-environment", *args])
    with pytest.raises(SystemExit) as caught:
        environment_command.main()
    assert caught.value.code == 2
