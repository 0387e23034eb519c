"""root.transaction: what an upgrade does, in which order, and that everything goes back when it does not work.

The machine around it notes what is asked of it; that the real one does it is shown on real machines.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Optional

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import supervision, upgrade
from jupyterhub4family.common.state.upgrade import Edition, Upgrade
from jupyterhub4family.common.system.programs import CompletedProcess, as_account
from jupyterhub4family.root.base import run_dir, servers, supervisor
from jupyterhub4family.root.upgrade import apt, transaction
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People

OLD, NEW = "py3.11-000000000000", "py3.11-111111111111"


class Machine:
    """Service, hub, portal and apt as a test wants them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.version = "1.1"
        self.answers: dict[str, Any] = {
            "ready": {"ready": True},
            "build": {"release": NEW},
            "copy": {"copy": "c.sqlite"},
            "fit": {"fits": True, "copy": ""},
            "switch": {"changed": True},
            "probe": {"seconds": 60},
        }
        #: What each step raises, in turn.
        self.troubles: dict[str, list[Optional[FamilyError]]] = {}
        self.settings = Settings()
        self.pauses: list[float] = []
        monkeypatch.setattr(run_dir, "RUN_DIR", directory)
        monkeypatch.setattr(run_dir, "ensure_run_dir", lambda: None)
        FakePrograms(monkeypatch).answer("*", self._converse)
        monkeypatch.setattr(effective, "settings_in_use", lambda: (self.settings, None))
        monkeypatch.setattr(transaction, "_wait_for_portal", lambda: self._step("portal"))
        monkeypatch.setattr(transaction, "_current_release", lambda: OLD)
        monkeypatch.setattr(time, "sleep", self.pauses.append)
        monkeypatch.setattr(supervisor, "restart", lambda with_proxy: self._step("restart"))
        monkeypatch.setattr(apt, "installed_version", lambda: self.version)
        monkeypatch.setattr(apt, "install_saved", self._install_kept)
        monkeypatch.setattr(apt, "save_installed", lambda: self._step("keep"))
        monkeypatch.setattr(apt, "pin_away", lambda version: self._step(f"keep away {version}"))
        monkeypatch.setattr(apt, "allow_all", lambda: self._step("allow all"))

    def begun(self, **more: Any) -> Upgrade:
        one = Upgrade(Edition("1.0", OLD), "1.1", kept=True, **more)
        upgrade.write_state(upgrade.IN_PROGRESS, one)
        upgrade.PREVIOUS_PACKAGE.touch()
        return one

    def _install_kept(self) -> None:
        self._step("install kept")
        self.version = "1.0"

    def _step(self, name: str) -> None:
        self.done.append(name)
        problem = self.troubles.get(name, [None]).pop(0) if self.troubles.get(name) else None
        if problem is not None:
            raise problem

    def _converse(self, call: Call) -> dict[str, Any]:
        arguments = call.args
        request = call.request
        program = Path(arguments[-1]).name
        name = " ".join(str(value) for value in request.values()) or program
        try:
            self._step(name)
        except FamilyError as error:
            return {"ok": False, "error": error.message, "status": int(error.status)}
        call.progress(50, "half of it")
        return {"ok": True, **self.answers.get(request.get("action", program), {})}


@pytest.fixture
def machine(tmp_path: Path, machine_root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


FORWARD = ["ready", "build", "copy", f"fit {NEW}", f"switch {NEW} True", "restart", "portal", "probe"]


def test_all_goes_well(machine: Machine) -> None:
    machine.begun()
    transaction.run_to_completion()
    assert machine.done == [*FORWARD, "allow all"]
    assert upgrade.upgrade_in_progress() is None and upgrade.failed_upgrade() is None
    assert upgrade.previous_edition() == Edition("1.0", OLD)


def test_what_fetching_and_the_trial_say_is_told_on_and_percentages_only_grow(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[tuple[int, str]] = []
    write = upgrade.write_state

    def write_and_remember(file: Path, state: Any) -> None:
        if file == upgrade.IN_PROGRESS and state.message:
            reported.append((state.percent, str(state.message)))
        write(file, state)

    machine.begun()
    monkeypatch.setattr(upgrade, "write_state", write_and_remember)
    transaction.run_to_completion()
    # The service and the trial both say "half of it", which is less than half of the whole upgrade, and more.
    assert [percent for percent, message in reported if message == "half of it"] == [15, 76]
    assert [percent for percent, _message in reported] == sorted(percent for percent, _message in reported)


def test_while_a_release_is_fetched_the_new_version_runs_on_the_old_one(machine: Machine) -> None:
    machine.answers["ready"] = {"ready": False}
    machine.begun()
    transaction.run_to_completion()
    assert machine.done == ["ready", "restart", *FORWARD[1:], "allow all"]


def test_without_a_network_it_waits_as_long_as_it_takes(machine: Machine) -> None:
    gone = FamilyError("no internet", status=ExitStatus.NETWORK)
    machine.troubles["build"] = [gone] * 9
    machine.begun()
    transaction.run_to_completion()
    assert machine.pauses == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert machine.done[-2:] == ["probe", "allow all"]


BACK = ["install kept", f"switch {OLD} False", "restore c.sqlite", "restart", "portal", "probe"]


@pytest.mark.parametrize("step", ["portal", "probe", f"switch {NEW} True", "restart"])
def test_whatever_fails_everything_goes_back(machine: Machine, step: str) -> None:
    machine.troubles[step] = [FamilyError("it is broken")] * (2 if step == "probe" else 1)
    machine.begun()
    transaction.run_to_completion()
    place = machine.done.index("install kept")
    assert machine.done[place:] == [*BACK, "keep away 1.1"]
    failed = upgrade.failed_upgrade()
    assert failed is not None and (failed.origin, failed.target, failed.release) == ("1.0", "1.1", NEW)
    assert (
        "it is broken" in failed.reason
        and "1.0 is back in service. The database is the previous one" in failed.message()
    )
    assert upgrade.upgrade_in_progress() is None and upgrade.previous_edition() is None


def test_a_release_that_cannot_be_built_changes_nothing_but_the_package(machine: Machine) -> None:
    machine.troubles["build"] = [FamilyError("a wrong hash")]
    machine.begun()
    transaction.run_to_completion()
    assert "restore c.sqlite" not in machine.done and "install kept" in machine.done
    failed = upgrade.failed_upgrade()
    assert failed is not None and "database stayed" in failed.message() and failed.release == ""


def test_without_the_package_release_and_database_go_back(machine: Machine) -> None:
    machine.troubles["portal"] = [FamilyError("nobody answers")]
    upgrade.write_state(upgrade.IN_PROGRESS, Upgrade(Edition("", OLD), ""))
    transaction.run_to_completion()
    assert "install kept" not in machine.done and f"switch {OLD} False" in machine.done
    failed = upgrade.failed_upgrade()
    assert failed is not None and failed.release == NEW and not any("keep away" in step for step in machine.done)


def test_a_way_back_that_fails_is_told_and_comes_to_an_end(machine: Machine) -> None:
    machine.troubles["portal"] = [FamilyError("nobody answers")] * 2
    machine.troubles["install kept"] = [FamilyError("apt is busy")]
    machine.begun()
    transaction.run_to_completion()
    failed = upgrade.failed_upgrade()
    assert failed is not None and "but: apt is busy" in failed.message()
    assert f"switch {OLD} False" in machine.done and upgrade.upgrade_in_progress() is None


def test_a_trial_login_is_tried_twice_and_a_busy_one_is_waited_for(machine: Machine) -> None:
    busy = FamilyError("another trial login is under way", status=ExitStatus.REFUSED)
    machine.troubles["probe"] = [FamilyError("slow"), busy, busy, busy]
    machine.begun()
    transaction.run_to_completion()
    assert machine.done.count("probe") == 5 and upgrade.failed_upgrade() is None


def test_a_database_that_the_release_cannot_read(machine: Machine) -> None:
    machine.answers["fit"] = {"fits": False, "copy": "older.sqlite"}
    machine.begun()
    transaction.run_to_completion()
    place = machine.done.index(f"fit {NEW}")
    assert machine.done[place + 1 : place + 3] == ["restore older.sqlite", f"switch {NEW} True"]

    machine.answers["fit"] = {"fits": False, "copy": ""}
    machine.begun()
    transaction.run_to_completion()
    failed = upgrade.failed_upgrade()
    assert failed is not None and "newer JupyterHub" in failed.message()


def test_after_a_power_cut_the_copy_of_before_counts(machine: Machine) -> None:
    machine.begun(release=NEW, copy="first.sqlite")
    machine.troubles["portal"] = [FamilyError("nobody answers")]
    transaction.run_to_completion()
    assert "copy" not in machine.done and "restore first.sqlite" in machine.done


def test_a_way_back_by_hand(machine: Machine) -> None:
    machine.begun(backwards=True, by_hand=True)
    transaction.run_to_completion()
    assert machine.done == ["install kept", f"switch {OLD} True", "restart", "portal", "probe", "keep away 1.1"]
    assert upgrade.failed_upgrade() is None and upgrade.previous_edition() is None


def test_a_way_back_to_a_release_that_is_not_there_any_more(machine: Machine) -> None:
    machine.begun(backwards=True, by_hand=True)
    now = upgrade.upgrade_in_progress()
    assert now is not None
    upgrade.write_state(upgrade.IN_PROGRESS, dataclasses.replace(now, origin=Edition("1.0", "")))
    transaction.run_to_completion()
    assert not any(step.startswith("switch") for step in machine.done) and upgrade.failed_upgrade() is None


def test_yet_another_version_in_the_middle(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen through as well, and the way back leads to what had proved itself."""
    machine.begun()
    restarts: list[bool] = []

    def restart(with_proxy: bool) -> None:
        machine.done.append("restart")
        if not restarts:
            machine.version = "1.2"
            transaction.save_previous()
            transaction.begin()
        restarts.append(with_proxy)

    monkeypatch.setattr(supervisor, "restart", restart)
    transaction.run_to_completion()
    assert "keep" not in machine.done, "1.1 had not proved itself"
    assert machine.done[-len(FORWARD) - 1 :] == [*FORWARD, "allow all"] and len(restarts) == 2
    assert upgrade.previous_edition() == Edition("1.0", OLD)


def test_yet_another_version_at_the_very_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has passed its trial, and is not what is installed any more: nothing of it is noted."""
    machine.begun()
    original = machine._converse
    trials: list[str] = []

    def converse(call: Call) -> dict[str, Any]:
        if call.name != "probe" or trials:
            return original(call)
        trials.append(machine.version)
        machine.version = "1.2"
        transaction.save_previous()
        transaction.begin()
        return {"ok": True, "seconds": 5}

    FakePrograms(monkeypatch).answer("*", converse)
    transaction.run_to_completion()
    assert machine.done == [*FORWARD[:-1], *FORWARD, "allow all"]
    assert upgrade.previous_edition() == Edition("1.0", OLD) and upgrade.upgrade_in_progress() is None


@pytest.mark.parametrize("answer", [{"release": "../../etc"}, {"release": 3}, {}, {"release": "a b"}])
def test_names_from_the_service_are_words(machine: Machine, answer: dict[str, Any]) -> None:
    machine.answers["build"] = answer
    machine.begun()
    transaction.run_to_completion()
    failed = upgrade.failed_upgrade()
    assert failed is not None and "makes no sense" in failed.message()


def test_what_runs_is_kept_before_and_noted_after(machine: Machine) -> None:
    machine.version = "1.0"
    transaction.save_previous()
    upgrade.PREVIOUS_PACKAGE.touch()
    assert machine.done == ["keep"] and upgrade.pending_edition() == Edition("1.0", OLD)
    machine.version = "1.1"
    transaction.begin()
    now = upgrade.upgrade_in_progress()
    assert now is not None and now.kept and now.origin == Edition("1.0", OLD) and now.target == "1.1"
    assert upgrade.pending_edition() is None


def test_without_a_kept_package_only_the_release_has_a_way_back(machine: Machine) -> None:
    transaction.begin()
    now = upgrade.upgrade_in_progress()
    assert now is not None and not now.kept and now.origin.release == OLD


@pytest.mark.usefixtures("machine_root")
@pytest.mark.parametrize(
    ("name", "complete", "can"), [(OLD, True, True), (OLD, False, False), ("py3.9-000000000000", True, False)]
)
def test_an_upgrade_needs_something_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, complete: bool, can: bool
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_PYTHON", tmp_path / "python3.11")
    monkeypatch.setattr(apt, "installed_version", lambda: "1.1")
    upgrade.write_state(upgrade.PENDING, Edition("1.0", name))
    assert not transaction.can_begin()
    (paths.RELEASES / name).mkdir()
    paths.CURRENT_RELEASE.symlink_to(name)
    if complete:
        (paths.RELEASES / name / ".complete").touch()
    assert transaction.can_begin() is can
    upgrade.PENDING.unlink()
    assert not transaction.can_begin(), "what was removed and comes back takes nobody's place"
    monkeypatch.setattr(apt, "installed_version", lambda: "")
    assert transaction.can_begin() is can, "without the .deb nobody knows what was there"


def test_it_waits_for_busy_kernels_only_if_so_configured(
    machine: Machine, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add("anna", 1001, "jupyterhub")
    people.add("ben", 1002)
    monkeypatch.setattr(servers, "has_server", lambda _uid: True)
    busy = iter([2, 1, 0])
    original = machine._converse

    def converse(call: Call) -> dict[str, Any]:
        arguments = call.args
        if arguments[-1].endswith("busy-kernels"):
            assert arguments[:6] == as_account("anna")
            return {"ok": True, "busy": next(busy)}
        return original(call)

    FakePrograms(monkeypatch).answer("*", converse)
    machine.begun()
    transaction.run_to_completion()
    assert machine.pauses == []
    machine.settings = dataclasses.replace(machine.settings, upgrade_waits_for_kernels=True)
    machine.begun()
    transaction.run_to_completion()
    assert machine.pauses == [transaction.KERNEL_PAUSE] * 2 and next(busy, "all asked") == "all asked"


def test_who_cannot_be_asked_keeps_no_upgrade_away(
    machine: Machine, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add("anna", 1001, "jupyterhub")
    monkeypatch.setattr(servers, "has_server", lambda _uid: True)
    machine.troubles["busy-kernels"] = [FamilyError("anna's disk is full")]
    machine.settings = dataclasses.replace(machine.settings, upgrade_waits_for_kernels=True)
    machine.begun()
    transaction.run_to_completion()
    assert machine.done == ["busy-kernels", *FORWARD, "allow all"] and machine.pauses == []


def test_nothing_under_way_is_nothing_to_do(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "upgrade.lock").write_text("9" * 20, "ascii")
    transaction.run_to_completion()
    assert machine.done == []
    assert (tmp_path / "upgrade.lock").read_text("ascii") == str(os.getpid()), "and nothing of the one before"


# -- waiting for the portal --------------------------------------------------------------------------


class Portal:
    """What `status` says, in turn, and how often systemd has started the hub; time passes by waiting alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: list[str] = []
        self.restarts = "0"
        self.time = 1000.0
        self.programs = FakePrograms(monkeypatch)
        self.programs.answer("jupyterhub4family", lambda _call: CompletedProcess(0, self.says.pop(0), ""))
        self.programs.answer("systemctl", lambda _call: CompletedProcess(0, f"{self.restarts}\n", ""))
        monkeypatch.setattr(supervision, "chosen_supervisor", lambda: supervision.SYSTEMD)
        monkeypatch.setattr(time, "monotonic", lambda: self.time)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Portal:
    return Portal(monkeypatch)


def test_the_portal_is_waited_for_until_it_runs(portal: Portal) -> None:
    portal.says = ["", "no JSON", '{"portal": "starting"}', '{"portal": "running"}', "not asked"]
    transaction._wait_for_portal()
    assert portal.says == ["not asked"] and portal.time == 1003.0, "asked once a second"
    assert portal.programs.calls[0].args[:6] == as_account("jupyterhub")


def test_a_portal_that_never_runs_is_not_waited_for_for_ever(portal: Portal) -> None:
    portal.says = ['{"portal": "starting"}'] * 1000
    with pytest.raises(FamilyError, match="did not answer within 180 seconds"):
        transaction._wait_for_portal()
    assert 180 <= portal.time - 1000 <= 182


@pytest.mark.parametrize(
    ("restarts", "ends"), [("6", True), ("7", True), ("5", False), ("", False), ("[not set]", False)]
)
def test_a_hub_that_ends_again_and_again_is_not_waited_for(portal: Portal, restarts: str, ends: bool) -> None:
    portal.says, portal.restarts = ['{"portal": "not running"}', '{"portal": "running"}'], restarts
    if ends:
        with pytest.raises(FamilyError, match="kept crashing"):
            transaction._wait_for_portal()
    else:
        transaction._wait_for_portal()


def test_without_systemd_nobody_counts(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: supervision.CRON)
    portal.says, portal.restarts = ['{"portal": "starting"}', '{"portal": "running"}'], "99"
    transaction._wait_for_portal()
    assert {call.name for call in portal.programs.calls} == {"jupyterhub4family"}


def test_it_ends_before_the_package_is_removed(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(supervisor, "stop_upgrade", lambda: machine.done.append("stop unit"))
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, int(number))))
    transaction.end()
    transaction.run_to_completion()
    transaction.end()
    assert killed == [] and machine.done == ["stop unit"] * 2

    def restart(with_proxy: bool) -> None:
        transaction.end()

    # From within one that is at work: its lock is taken, and its pid stands in it.
    monkeypatch.setattr(supervisor, "restart", restart)
    machine.begun()
    transaction.run_to_completion()
    assert killed == [(os.getpid(), 15)]


def test_an_upgrade_of_a_package_that_was_removed_is_forgotten(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "stop_upgrade", lambda: None)
    machine.begun()
    transaction.save_previous()
    transaction.end()
    assert upgrade.upgrade_in_progress() is None and upgrade.pending_edition() is None
