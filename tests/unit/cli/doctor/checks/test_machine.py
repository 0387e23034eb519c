"""cli.checks.machine, ports, names, settings and floors: what can be told without touching the machine."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import date
from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor.base import minimum_versions
from jupyterhub4family.cli.doctor.base.finding import OK, PROBLEM, WARNING, CheckContext
from jupyterhub4family.cli.doctor.checks import machine, names, ports, settings
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ConfigurationError, FamilyError
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import supervision
from jupyterhub4family.common.system import network, processes
from jupyterhub4family.common.system.programs import CompletedProcess
from tests.unit.fakes import FakePrograms
from tests.unit.helpers import DATA, People, free_port, set_free_space

GIGABYTE = 10**9
#: What is packaged.
OURS = DATA / "usr/share/jupyterhub4family/minimum-versions.json"


@pytest.mark.parametrize(("free", "state"), [(50 * GIGABYTE, OK), (GIGABYTE, WARNING), (GIGABYTE // 10, PROBLEM)])
def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    set_free_space(monkeypatch, free)
    found = [one for one in machine.check_disk(CheckContext()) if "inodes" not in one.message]
    assert {one.state for one in found} == {state}


@pytest.mark.parametrize(("kilobytes", "state"), [(4_000_000, OK), (100_000, WARNING)])
def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kilobytes: int, state: str) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 8000000 kB\nMemAvailable: {kilobytes} kB\nSwapFree: 0 kB\n")
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert [one.state for one in machine.check_memory(CheckContext())] == [state]


@pytest.mark.parametrize(
    ("now", "synchronized", "state"),
    [
        ("2027", "yes", OK),
        ("2027", "", OK),
        ("2027", "no", WARNING),
        ("1970", "yes", PROBLEM),
        ("2150", "yes", PROBLEM),
    ],
)
def test_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: str, synchronized: str, state: str) -> None:
    monkeypatch.setattr(paths, "LIBRARY", tmp_path)
    monkeypatch.setattr(machine, "_synchronized", lambda: synchronized)
    moment = time.mktime(time.strptime(f"{now}-06-01", "%Y-%m-%d"))
    monkeypatch.setattr(time, "time", lambda: moment)
    assert [one.state for one in machine.check_clock(CheckContext())] == [state]


def test_a_clock_that_went_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LIBRARY", tmp_path)
    monkeypatch.setattr(machine, "FIRST_YEAR", 2000)
    earlier = tmp_path.stat().st_ctime - 400 * 86400
    monkeypatch.setattr(time, "time", lambda: earlier)
    (found,) = machine.check_clock(CheckContext())
    assert found.state == PROBLEM and "before the installation" in found.message


def test_ports_with_real_sockets(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This test is the service; another account's socket is the machine's own."""
    monkeypatch.setattr(supervision, "SYSTEMD_RUNS", tmp_path / "no")
    people.group("nogroup", 65534)
    people.add("jupyterhub", os.getuid(), gid=65534)
    with socket.create_server(("127.0.0.1", 0)) as inner, socket.create_server(("", 0)) as open_one:
        inner_port, open_port = inner.getsockname()[1], open_one.getsockname()[1]
        good = Settings(port=open_port, hub_port=inner_port)
        assert [one.state for one in ports.check_ports(CheckContext(settings=good))] == [OK]
        bad = Settings(port=free_port(), hub_port=open_port)
        (found,) = ports.check_ports(CheckContext(settings=bad))
        assert found.state == PROBLEM and "from other computers" in found.message
        people.accounts.clear()
        people.add("jupyterhub", 998, gid=65534)
        (found,) = ports.check_ports(CheckContext(settings=Settings(port=inner_port, hub_port=1024)))
        assert found.state == PROBLEM and str(inner_port) in found.message


@pytest.mark.parametrize(
    ("resolves", "announced", "listen", "states", "reported"),
    [
        (True, "box.local", "lan", [OK, OK], "announces box.local"),
        (False, "box.local", "lan", [WARNING, OK], "does not know its own name"),
        (True, "", "lan", [OK, WARNING], "avahi is not running, so box.local does not lead here"),
        (True, "box-2.local", "lan", [OK, WARNING], "another device at home is called box, too"),
        (True, "old.local", "lan", [OK, WARNING], "another name, old.local, so box.local does not lead here"),
        (True, "box-x.local", "lan", [OK, WARNING], "another name, box-x.local"),
        (True, "", "local", [OK], "knows its own name (box.lan)"),
    ],
)
def test_names(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch, resolves: bool, announced: str, listen: str, states: list[str], reported: str
) -> None:
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0 if resolves else 2, "", ""))
    monkeypatch.setattr(socket, "gethostname", lambda: "box.lan")
    monkeypatch.setattr(network, "announced_name", lambda: announced)
    found = list(names.check_names(CheckContext(settings=Settings(listen=listen))))
    assert [one.state for one in found] == states
    assert reported in " ".join(one.message for one in found)


def test_a_machine_without_a_proper_name(monkeypatch: pytest.MonkeyPatch) -> None:
    FakePrograms(monkeypatch).answer("*", lambda _call: CompletedProcess(0, "", ""))
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    found = list(names.check_names(CheckContext(settings=Settings())))
    assert [one.state for one in found] == [OK, WARNING]


def test_settings_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = ConfigurationError("unknown key 'prot'", "the nearest known key is 'port'")
    monkeypatch.setattr(effective, "configuration_problems", lambda: [error])
    (found,) = settings.check_settings(CheckContext())
    assert found.state == PROBLEM and "'port'" in found.hint


def test_settings_that_others_may_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("")
    # Root may run the tests, and then owns it.
    file.chmod(0o664)
    monkeypatch.setattr(paths, "SETTINGS_FILE", file)
    monkeypatch.setattr(effective, "configuration_problems", lambda: [])
    found = list(settings.check_settings(CheckContext()))
    assert {one.state for one in found} == {PROBLEM} and str(file) in found[-1].message


@pytest.mark.parametrize(
    ("package", "version", "below"),
    [
        ("jupyterhub", "5.5.0", True),
        ("jupyterhub", "5.5.1", False),
        ("jupyterhub", "6.1.1", False),
        ("jupyter-server", "2.18.1", True),
        ("jupyter-server", "2.18.2", False),  # judged
        ("jupyter-server", "2.20.0", True),
        ("jupyter-server", "2.21.0", False),
        ("jupyterlab", "4.5.10", False),
        ("jupyterlab", "4.6.1", True),
        ("tornado", "6.5.10", False),
        ("tornado", "6.5.6", True),
        ("node", "v24.22.3", False),
        ("node", "v24.9.0", True),
        ("unheard-of", "0.1", False),
        ("notebook", "7.5.6rc1", False),
    ],
)
def test_floors(package: str, version: str, below: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", OURS)
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", OURS.with_name("judgements.json"))
    assert (minimum_versions.below_floor(package, version) is not None) is below


def test_every_floor_names_its_source_and_the_file_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", OURS)
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", OURS.with_name("judgements.json"))
    date.fromisoformat(json.loads(OURS.read_text("utf-8"))["asked"])
    for package, ranges in minimum_versions.read_floors().items():
        for floor in ranges:
            assert floor.source.startswith(("CVE-", "GHSA-", "PYSEC-")), package
            assert (
                minimum_versions.below_floor(package, floor.first)
                == floor
                != minimum_versions.below_floor(package, floor.version)
            )


@pytest.mark.parametrize(
    ("version", "advisory"),
    [("4.1.5", "A"), ("4.1.6", ""), ("5.0.0", "B"), ("5.1.0b2", ""), ("5.1.0", ""), ("6.0", ""), ("0.1", "A")],
)
def test_a_line_that_was_mended_on_its_own_has_a_floor_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, advisory: str
) -> None:
    spans = [
        {"from": "0", "below": "4.1.6", "advisory": "A"},
        {"from": "5.0.0", "below": "5.1.0", "advisory": "B"},
    ]
    file = tmp_path / "minimum-versions.json"
    file.write_text(json.dumps({"affected": {"jupyterhub": spans}}))
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", file)
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", OURS.with_name("judgements.json"))
    found = minimum_versions.below_floor("jupyterhub", version)
    assert (found.source if found else "") == advisory


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"judged": [{"package": "node"}]}', '{"judged": 3}'])
def test_a_damaged_file_of_judgements_is_no_good_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "judgements.json"
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", OURS)
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", file)
    file.write_text(text)
    for _once in ("damaged", "missing"):
        with pytest.raises(FamilyError, match="missing or damaged"):
            minimum_versions.below_floor("node", "24.1.0")
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"affected": {"x": [{"from": "0"}]}}', '{"affected": {"x": 3}}'])
def test_a_damaged_file_is_no_good_news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    file = tmp_path / "minimum-versions.json"
    file.write_text(text)
    monkeypatch.setattr(minimum_versions, "MINIMUM_VERSIONS", file)
    monkeypatch.setattr(minimum_versions, "JUDGEMENTS", OURS.with_name("judgements.json"))
    for _once in ("damaged", "missing"):
        with pytest.raises(FamilyError, match="missing or damaged"):
            minimum_versions.below_floor("jupyterhub", "1")
        file.unlink(missing_ok=True)
