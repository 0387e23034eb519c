"""The bench cannot rot: its cheap figures are taken once, and must be there and believable.

The marks are not judged here: on a busy computer one repeat says little. `bench/run` judges.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import main, report, scenes
from bench.book import Book
from bench.figures import SCENES, SMOKE
from bench.stacks import OURS, STOCK, Ours
from bench.stock import Stock

#: What no computer that can run this will leave: seconds and MB.
PLAUSIBLE = {
    "warm_start": (0.3, 120),
    "first_minus_warm": (-60, 60),
    "server_memory": (40, 400),
    "service_memory": (60, 400),
    "hub_memory": (30, 250),
    "proxy_memory": (15, 250),
    "killed_systemd": (0.2, 100),
    "restart_silence": (0, 60),
}
#: The stock stack's documented way: the portal stays away, the notebook's server is gone.
NEVER = {"killed_documented", "restart_silence"}


def test_it_measures_ours(deb: Path, tmp_path: Path) -> None:
    """One scene with the stack that every test machine has; the other one takes minutes to install."""
    book, ours = Book(), Ours(deb, own_layers=False)
    with scenes.stage(ours) as stage:
        scenes.warm(book, [stage], 1)
    assert not book.troubles
    result = main.make_report(book, ours, {})
    assert {"warm_start", "server_memory"} <= set(result["figures"])
    for key, row in result["figures"].items():
        if key in PLAUSIBLE:
            least, most = PLAUSIBLE[key]
            assert least <= row[OURS]["median"] <= most, (key, row)
    report.write(tmp_path, result)
    page = (tmp_path / "performance.md").read_text()
    assert page.count("\n| ") == len(result["figures"]) + 1


@pytest.mark.campaign
@pytest.mark.slow
def test_smoke(deb: Path, tmp_path: Path) -> None:
    book, ours = Book(), Ours(deb, own_layers=False)
    main.run_scenes(book, ours, Stock(), main.SMOKE_PLAN)
    assert not book.troubles
    result = main.make_report(book, ours, {})
    assert set(result["figures"]) == {figure for scene in SMOKE for figure in SCENES[scene]}
    for key, row in result["figures"].items():
        for stack in (OURS, STOCK):
            value = row[stack]["median"]
            if stack == STOCK and key in NEVER:
                assert value is None, (key, row)
            elif key in PLAUSIBLE and not (stack == STOCK and key == "first_minus_warm"):
                least, most = PLAUSIBLE[key]
                assert value is not None and least <= value <= most, (key, stack, row)
    report.write(tmp_path, result)
    page = (tmp_path / "performance.md").read_text()
    assert page.count("\n| ") == len(result["figures"]) + 1
