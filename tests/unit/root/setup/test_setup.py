"""root.setup: what the maintainer scripts do, and that doing it twice changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, PermissionRefused
from jupyterhub4family.common.paths import SERVICE_DIRECTORIES, SERVICE_HOME
from jupyterhub4family.common.state import supervision, upgrade
from jupyterhub4family.common.state.upgrade import Edition, Upgrade
from jupyterhub4family.common.system.programs import CompletedProcess
from jupyterhub4family.root.base import avahi, held_ports, run_dir, servers, supervisor
from jupyterhub4family.root.setup import setup
from jupyterhub4family.root.upgrade import transaction
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import People, must_not_be_called, write_program


class Machine:
    """Runs no program; the few that make accounts and groups make them in the database of the test."""

    def __init__(self, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
        self.people = people
        self.lines: list[str] = []
        self.holder_is_enabled = False
        people.group("nogroup", 65534)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        program, *rest = map(str, arguments)
        name = rest[-1]
        self.lines.append(" ".join([program, *rest]))
        if rest[0] == "is-enabled":
            return CompletedProcess(0 if self.holder_is_enabled else 1, "", "")
        if program == "/usr/sbin/groupadd":
            self.people.group(name, 300 + len(self.people.groups))
        elif program == "/usr/sbin/useradd":
            home = Path(rest[rest.index("--home-dir") + 1])
            self.people.add(name, 998, home=home, gid=self.people.groups[rest[rest.index("--gid") + 1]][0])
        return CompletedProcess(0, "", "")


@pytest.fixture
def machine(people: People, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(people, monkeypatch)


def test_groups_are_made_once(machine: Machine) -> None:
    for name in ("jupyterhub", "jupyterhub_adm"):
        del machine.people.groups[name]
    setup.ensure_groups()
    assert machine.lines == ["/usr/sbin/groupadd --system jupyterhub", "/usr/sbin/groupadd --system jupyterhub_adm"]
    setup.ensure_groups()
    assert len(machine.lines) == 2


def test_the_account_is_made_once_without_a_password(machine: Machine) -> None:
    setup.ensure_account()
    (line,) = machine.lines
    assert " --system " in line and " --password * " in line and line.endswith(" jupyterhub")
    assert " --groups " not in line, "the service is in no group that gives rights"
    setup.ensure_account()
    assert len(machine.lines) == 1


@pytest.mark.parametrize(
    ("uid", "home"), [(1005, Path("/home/jupyterhub")), (0, SERVICE_HOME), (998, Path("/srv/hub"))]
)
def test_somebody_elses_account_is_left_alone(machine: Machine, uid: int, home: Path) -> None:
    machine.people.add("jupyterhub", uid, home=home, gid=200)
    with pytest.raises(FamilyError, match="not this package's") as caught:
        setup.ensure_account()
    assert caught.value.hint and machine.lines == []


def test_folders_get_their_owners_and_modes_and_keep_what_is_in_them(
    machine: Machine, machine_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.people.add("jupyterhub", 998, gid=65534)
    owners: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(
        os, "fchown", lambda number, uid, gid: owners.update({os.readlink(f"/proc/self/fd/{number}"): (uid, gid)})
    )
    (paths.STATE / "mine").touch()
    paths.STATE.chmod(0o777)
    for _twice in range(2):
        owners.clear()
        setup.ensure_directories()
        expected = {str(one): (0, 0) if by_root else (998, 65534) for one, (_, by_root) in SERVICE_DIRECTORIES.items()}
        assert owners == expected
        for directory, (mode, _by_root) in SERVICE_DIRECTORIES.items():
            assert directory.stat().st_mode & 0o7777 == mode
    assert (paths.STATE / "mine").exists() and paths.AUTHORITY_CERTIFICATE.parent == paths.PUBLIC
    link = SERVICE_HOME / paths.AUTHORITY_CERTIFICATE.name
    assert link.parent / os.readlink(link) == paths.AUTHORITY_CERTIFICATE


def test_a_link_in_place_of_a_folder_is_not_followed(machine: Machine, machine_root: Path, tmp_path: Path) -> None:
    machine.people.add("jupyterhub", 998, gid=65534)
    (machine_root / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="Not a directory"):
        setup._ensure_directory(machine_root / "link", 0o700, os.getuid(), os.getgid())


@pytest.mark.parametrize(("status", "may"), [(0, True), (104, True), (101, False)])
def test_policy_rc_d_decides_whether_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, may: bool
) -> None:
    monkeypatch.setattr(setup, "POLICY", tmp_path / "policy-rc.d")
    assert setup.may_start()
    write_program(tmp_path / "policy-rc.d", f'test "$*" = "jupyterhub4family start" && exit {status}', "/bin/sh")
    assert setup.may_start() is may


@pytest.mark.usefixtures("machine_root")
@pytest.mark.parametrize("may", [True, False])
def test_configure_does_everything_and_starts_where_it_may(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, may: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    for name in ("ensure_groups", "ensure_account", "ensure_directories", "check_sudoers"):
        monkeypatch.setattr(setup, name, lambda name=name: done.append(name))
    monkeypatch.setattr(setup, "ensure_supervision", lambda _enable: done.append("ensure_supervision"))
    monkeypatch.setattr(setup, "may_start", lambda: may)
    monkeypatch.setattr(setup, "start_or_upgrade", lambda: done.append("start"))
    setup.configure()
    ensured = ["ensure_groups", "ensure_account", "ensure_directories", "check_sudoers", "ensure_supervision"]
    assert sorted(done) == sorted(ensured + ["start"] * may)
    # Each needs the one before; and nothing starts before all is there.
    assert done.index("ensure_groups") < done.index("ensure_account") < done.index("ensure_directories")
    assert "start" not in done[:-1]
    assert ("jupyterhub4family start" in capsys.readouterr().out) is not may


@pytest.mark.parametrize(("chosen", "systemd"), [("cron", False), ("cron", True), ("systemd", True)])
def test_the_account_has_a_crontab_exactly_where_cron_supervises(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str, systemd: bool
) -> None:
    crontabs: list[str] = []
    (tmp_path / "crontab").write_text("@reboot x\n", "utf-8")
    monkeypatch.setattr(paths, "SHARE", tmp_path)
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path if systemd else tmp_path / "no")
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: chosen)
    monkeypatch.setattr(supervisor, "install_crontab", crontabs.append)
    monkeypatch.setattr(supervisor, "remove_crontab", lambda: crontabs.append("none"))
    setup.ensure_supervision(enable=True)
    assert crontabs == ["@reboot x\n" if chosen == "cron" else "none"]
    assert any("daemon-reload" in line for line in machine.lines) is systemd
    assert any("enable" in line for line in machine.lines) is systemd


@pytest.mark.parametrize("chosen", ["cron", "systemd"])
@pytest.mark.parametrize("differs", [True, False])
def test_the_holder_of_the_ports_starts_at_boot_exactly_where_cron_supervises(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str, differs: bool
) -> None:
    machine.holder_is_enabled = (chosen == "cron") is not differs
    word = "enable" if chosen == "cron" else "disable"
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(supervision, "chosen_supervisor", lambda: chosen)
    for name in ("install_crontab", "remove_crontab"):
        monkeypatch.setattr(supervisor, name, lambda *_text: None)
    monkeypatch.setattr(paths, "SHARE", tmp_path)
    (tmp_path / "crontab").touch()
    setup.ensure_supervision(enable=False)
    wanted = [f"systemctl {word} --quiet {supervision.HOLDER_UNIT}"] * differs
    assert [line for line in machine.lines if line.endswith(supervision.HOLDER_UNIT) and "is-" not in line] == wanted


def test_removing_ends_every_members_servers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(servers, "end_servers", ended.append)
    machine.people.add("anna", 1001, "jupyterhub")
    machine.people.add("ben", 1002)
    machine.people.add("clara", 1003, gid=200)
    setup.end_all_servers()
    assert ended == [1001, 1003]
    del machine.people.groups["jupyterhub"]
    setup.end_all_servers()
    assert len(ended) == 2


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ("configure", "configure False"),
        ("configure --enable", "configure True"),
        ("remove", "remove False"),
        ("remove --disable", "remove True"),
    ],
)
def test_words(monkeypatch: pytest.MonkeyPatch, arguments: str, call: str) -> None:
    done: list[str] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup, "configure", lambda enable: done.append(f"configure {enable}"))
    monkeypatch.setattr(setup, "remove", lambda disable: done.append(f"remove {disable}"))
    monkeypatch.setattr("sys.argv", ["setup", *arguments.split()])
    assert setup.main() == 0 and done == [call]


@pytest.mark.parametrize("systemd", [True, False])
@pytest.mark.parametrize("disable", [True, False])
def test_removing_forgets_an_upgrade_first_and_leaves_nothing_running(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, systemd: bool, disable: bool
) -> None:
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path if systemd else tmp_path / "no")
    monkeypatch.setattr(run_dir, "RUN_DIR", tmp_path / "run")
    monkeypatch.setattr(setup, "SYSTEMD_CONTROL", tmp_path / "control")
    for directory in ("run", "control/jupyterhub4family-1001.slice.d", "control/other.slice.d"):
        (tmp_path / directory).mkdir(parents=True)
    for module, name in (
        (transaction, "end"),
        (supervisor, "stop"),
        (supervisor, "end_holder"),
        (held_ports, "release"),
        (supervisor, "remove_crontab"),
        (avahi, "remove_service_file"),
        (setup, "end_all_servers"),
    ):
        monkeypatch.setattr(module, name, lambda name=name: machine.lines.append(name))
    setup.remove(disable)
    own = [line for line in machine.lines if not line.startswith(("systemctl", "/usr/sbin/update-rc.d"))]
    # An upgrade that goes on would start the hub again.
    assert own[0] == "end"
    left = {"stop", "end_holder", "release", "remove_crontab", "remove_service_file", "end_all_servers"}
    assert set(own[1:]) == left and own.index("stop") < own.index("release")
    # A hub that still runs would start servers anew.
    assert own.index("stop") < own.index("end_all_servers")
    called = [line for line in machine.lines if line.startswith("systemctl")]
    assert any("disable --quiet jupyterhub4family-ports.socket" in line for line in called) is (disable and systemd)
    assert any("disable --quiet --now jupyterhub4family-backup.timer" in line for line in called) is systemd
    assert ("systemctl stop jupyterhub4family.slice" in called) is systemd
    assert not (tmp_path / "run").exists() and (tmp_path / "control/other.slice.d").exists()
    assert (tmp_path / "control/jupyterhub4family-1001.slice.d").exists() is not systemd


@pytest.mark.parametrize("arguments", [["configure"], ["remove"]])
def test_only_root_may(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(setup, "configure", must_not_be_called)
    monkeypatch.setattr(setup, "remove", must_not_be_called)
    monkeypatch.setattr("sys.argv", ["setup", *arguments])
    mask = os.umask(0o022)
    try:
        with pytest.raises(PermissionRefused):
            setup.main()
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("backwards", "can", "steps"),
    [
        (False, False, ["start after install"]),
        (False, True, ["begin", "start", "start upgrade"]),
        # The package before, installed again: who goes back does the rest.
        (True, True, []),
    ],
)
def test_how_a_new_version_takes_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backwards: bool, can: bool, steps: list[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr(upgrade, "IN_PROGRESS", tmp_path / "under-way.json")
    upgrade.write_state(tmp_path / "under-way.json", Upgrade(Edition("1.0", "r"), "1.1", backwards=backwards))
    monkeypatch.setattr(transaction, "can_begin", lambda: can)
    monkeypatch.setattr(transaction, "begin", lambda: done.append("begin"))
    for name in ("start_after_install", "start", "start_upgrade"):
        monkeypatch.setattr(supervisor, name, lambda name=name: done.append(name.replace("_", " ")))
    setup.start_or_upgrade()
    assert done == steps
