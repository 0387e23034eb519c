"""common.state.upgrade: what root notes is read again as it was, and nonsense is no upgrade."""

from __future__ import annotations

import dataclasses
import os
import time

import pytest

from jupyterhub4family.common.i18n.messages import Message, _, translated
from jupyterhub4family.common.state import upgrade
from jupyterhub4family.common.state.upgrade import Edition, Failure, Upgrade

pytestmark = pytest.mark.usefixtures("machine_root")


def test_nothing_is_known_without_files() -> None:
    assert upgrade.upgrade_in_progress() is None and upgrade.failed_upgrade() is None
    assert upgrade.previous_edition() is None and upgrade.pending_edition() is None


def test_an_upgrade_is_read_as_it_was_noted() -> None:
    one = Upgrade(Edition("1.0", "py3.11-0"), "1.1", kept=True, copy="c", percent=40, message=_("Switching over"))
    upgrade.write_state(upgrade.IN_PROGRESS, one)
    assert upgrade.upgrade_in_progress() == one
    assert Upgrade(Edition(), "").began != Upgrade(Edition(), "").began


def test_root_sees_to_an_upgrade_from_the_unpacking_on_but_waits_not_for_ever() -> None:
    assert not upgrade.root_sees_to_it()
    upgrade.write_state(upgrade.PENDING, Edition("1.0", "py3.11-0"))
    assert upgrade.root_sees_to_it()
    long_ago = time.time() - upgrade.PENDING_TIMEOUT - 1
    os.utime(upgrade.PENDING, (long_ago, long_ago))
    assert not upgrade.root_sees_to_it()
    upgrade.write_state(upgrade.IN_PROGRESS, Upgrade(Edition("1.0", "py3.11-0"), "1.1"))
    assert upgrade.root_sees_to_it(), "that one may take days"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"origin": 3}', '{"origin": {}}', "{", '{"target": "1"}'])
def test_nonsense_is_no_upgrade(text: str) -> None:
    upgrade.IN_PROGRESS.write_text(text, "utf-8")
    upgrade.FAILED.write_text(text, "utf-8")
    assert upgrade.upgrade_in_progress() is None
    assert upgrade.failed_upgrade() is None


def test_a_note_of_a_newer_version_with_more_in_it_is_understood() -> None:
    upgrade.IN_PROGRESS.write_text('{"origin": {"version": "1"}, "target": "2", "backwards": true, "more": 3}', "utf-8")
    found = upgrade.upgrade_in_progress()
    assert found is not None and found.backwards and found.origin.version == "1"


def test_a_failure_can_be_told_in_another_language() -> None:
    one = Failure(
        "1.0", "1.1", "", "2026-11-23T04:30:00+00:00", _("the disk is full"), _("{version} is back", version="1")
    )
    upgrade.write_state(upgrade.FAILED, one)
    found = upgrade.failed_upgrade()
    assert found == one and isinstance(found.reason, Message)
    assert found.message() == "The upgrade to 1.1 (2026-11-23 04:30) failed: the disk is full. 1 is back"
    assert "1.1" in translated(found.message(), "de")
    upgrade.write_state(upgrade.FAILED, dataclasses.replace(one, target=""))
    again = upgrade.failed_upgrade()
    assert again is not None and "a newer release" in again.message()


def test_one_can_go_back_only_to_a_package_that_is_there() -> None:
    upgrade.write_state(upgrade.PREVIOUS, Edition("1.0", "r"))
    assert upgrade.previous_edition() is None
    upgrade.PREVIOUS_PACKAGE.touch()
    assert upgrade.previous_edition() == Edition("1.0", "r")
