"""root.caller: who opened a door, by sudo's word only."""

from __future__ import annotations

import os

import pytest

from jupyterhub4family.common.errors import PermissionRefused
from jupyterhub4family.root.base.sudo_caller import calling_account, require_root
from tests.unit.helpers import People


def test_without_sudo_root_itself_calls(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert calling_account() is None


def test_the_account_of_sudo_uid_calls(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    anna = people.add("anna", 1001)
    monkeypatch.setenv("SUDO_UID", "1001")
    # Names may be shared by accounts, numbers say who it is; and only one of these is believed.
    monkeypatch.setenv("SUDO_USER", "root")
    monkeypatch.setenv("USER", "root")
    assert calling_account() == anna


def test_root_through_sudo_is_root(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.add("root", 0)
    monkeypatch.setenv("SUDO_UID", "0")
    assert calling_account() is None


@pytest.mark.parametrize(
    "value", ["", " ", "anna", "root", "0x0", "1e3", "1001 0", "#0", "4711", "-1", "-1001", str(2**32), str(2**70)]
)
def test_anything_else_is_refused_and_never_taken_for_root(
    people: People, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    people.add("root", 0)
    people.add("anna", 1001)
    monkeypatch.setenv("SUDO_UID", value)
    with pytest.raises(PermissionRefused, match="the calling account is unknown"):
        calling_account()


@pytest.mark.parametrize("value", ["-1", str(2**32), str(2**70), "999999999"])
def test_the_real_database_refuses_impossible_numbers_too(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SUDO_UID", value)
    with pytest.raises(PermissionRefused):
        calling_account()


def test_only_root_passes_require_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    require_root()
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(PermissionRefused) as caught:
        require_root()
    assert caught.value.status == 4 and "sudo" in caught.value.hint
