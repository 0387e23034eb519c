"""The bench cannot rot: in campaigns its cheap figures are taken once, and must be there and believable.

The marks are not judged here: on a busy computer one repeat says little. `bench/run` judges.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import commands, cpu, crowd, floor, link, main, measure, report, results, scenes
from bench.book import Book
from bench.figures import SCENES, SMOKE
from bench.results import Origin
from bench.stacks import OURS, STOCK, SUITES, Ours
from bench.stock import Stock
from tests.machine.lib.believable import check
from tests.machine.lib.plugin import NewMachine

ORIGIN = Origin("2027-01-02 03:04", "abcdef012345", "0123456789ab")
#: What the bench does is the same on all of its releases; this file's tests share a machine of one.
pytestmark = [pytest.mark.any_debian(*SUITES), pytest.mark.campaign]


@pytest.fixture(scope="module")
def stage(deb: Path, suite: str) -> Iterator[scenes.Stage]:
    """Ours alone: the other stack takes minutes to install."""
    with scenes.stage(Ours(deb, suite, own_layers=False)) as stage:
        yield stage


def test_it_measures_ours(stage: scenes.Stage, suite: str, deb: Path, tmp_path: Path) -> None:
    book = Book()
    scenes.warm(book, [stage], 1)
    scenes.waits_for_disk(book, [stage], 1)
    check(book, set(SCENES["warm"]) | set(SCENES["syncs"]))
    cpu_of_all, cpu_of_hub = book.values["warm_cpu"][OURS][0], book.values["hub_cpu"][OURS][0]
    assert cpu_of_all and cpu_of_hub and cpu_of_hub < cpu_of_all
    suites: dict[str, dict[str, object]] = {suite: {}}
    results.add(suites[suite], "warm", book, ORIGIN)
    results.write(tmp_path, suites, main.about(Ours(deb, suite)))
    report.write(tmp_path, results.read(tmp_path), main.about(Ours(deb, suite)))
    page = (tmp_path / "performance.md").read_text()
    assert page.count("\n| ") == len(book.values) + 1


def test_it_counts_cpu_that_nobody_waits_for(stage: scenes.Stage) -> None:
    burn = "python3 -I -c 'import time; all(time.process_time() < 0.3 for _ in iter(int, 1))'"
    assert 0.25 < cpu.of_command(stage.machine, burn) < 0.9
    # A child whose parent has long ended when it begins, as a daemon's is.
    orphan = f'setsid sh -c "sleep 0.2; {burn}" & sleep 2'
    assert 0.25 < cpu.of_command(stage.machine, orphan) < 0.9
    meter = cpu.Meter(stage.machine)
    cpu.watch(meter)
    stage.machine.run(f"systemd-run --quiet --wait {burn}")  # in the machine's own group, that of a service
    assert 0.25 < meter.used() < 0.9


def test_it_measures_commands(stage: scenes.Stage) -> None:
    book = Book()
    commands.commands(book, stage, 1, members=2, accounts=6)
    check(book, set(SCENES["commands"]))
    assert "guest6" in stage.machine.run("jupyterhub4family members list")


def test_a_link_is_as_slow_as_it_says(new_machine: NewMachine, suite: str) -> None:
    machine = new_machine(suite, layer="base")
    size = 4_000_000
    with link.slow_link(machine, megabits=20, milliseconds=40) as slow:
        web = subprocess.Popen(
            ["ip", "netns", "exec", machine.name, "python3", "-m", "http.server", "8123", "--bind", machine.ip],
            cwd=machine.directory,
            stderr=subprocess.DEVNULL,
        )
        try:
            (machine.directory / "page").write_bytes(bytes(size))
            ask = [*slow.prefix, "curl", "-s", "--retry", "20", "--retry-connrefused", "-o", "/dev/null", "-w"]
            address = f"http://{machine.ip}:8123/page"
            done = subprocess.run(
                [*ask, "%{time_connect} %{time_total}", address], capture_output=True, text=True, check=True
            )
            connected, total = map(float, done.stdout.split())
            assert connected > 0.04, "there and back once"
            assert total > size / 2_500_000
            assert size < slow.received() < 1.2 * size
        finally:
            web.terminate()
            web.wait()


def test_growth_ends_before_memory_does(stage: scenes.Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "REST", 0.5)
    book = Book()
    # However often it looks: once the first server runs there is no room for more.
    monkeypatch.setattr(measure, "available_mb", lambda: crowd.RESERVE_MB if book.growth[OURS]["steps"] else 100_000.0)
    crowd.growth(book, stage, (1, 3))
    grown = book.growth[OURS]
    assert [step["members"] for step in grown["steps"]] == [1]
    assert "3 do not fit" in grown["ended"]


def test_bare_servers_end_with_their_measurement(stage: scenes.Stage) -> None:
    members = stage.stack.family(stage.machine, 2)
    found = floor.on_machine(stage.machine, stage.stack.python("{member}"), members)
    assert 0 < found["seconds"] < 60 and 0 < found["cpu"] < 10 and 5 < found["memory"] < 60
    time.sleep(0.5)
    assert stage.machine.execute("pgrep -f '[t]ornado.web'").returncode == 1


@pytest.mark.slow
@pytest.mark.every_debian(*SUITES)
def test_smoke(deb: Path, tmp_path: Path, suite: str) -> None:
    suites: dict[str, dict[str, object]] = {}
    bench = main.Bench(Ours(deb, suite, own_layers=False), Stock(suite), suites, tmp_path, ORIGIN)
    for scene in SMOKE:
        book = bench.run(scene, 1, patience=0)
        check(book, set(SCENES[scene]), (OURS, STOCK))
    assert {figure for scene in SMOKE for figure in SCENES[scene]} == set(results.read(tmp_path)[suite]["figures"])
