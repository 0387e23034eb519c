"""cli.doctor.registry: every check and every repair that is written is done, once, and in the order of root's steps."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.cli.doctor import registry
from jupyterhub4family.root.setup import repair
from tests.unit.helpers import SRC

CHECKS = sorted((SRC / "jupyterhub4family/cli/doctor/checks").glob("[!_]*.py"))


def test_every_module_with_checks_is_in_the_registry() -> None:
    assert sorted(module.__name__.rpartition(".")[2] for module in registry.MODULES) == [path.stem for path in CHECKS]


@pytest.mark.parametrize("module", registry.MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_check_of_a_module_has_a_name(module: object) -> None:
    written = {name for name in vars(module) if name.startswith("check_")}
    assert {check.find.__name__ for check in vars(module)["CHECKS"].values()} == written


def test_no_two_checks_or_repairs_share_a_name() -> None:
    names = Counter(name for module in registry.MODULES for name in module.CHECKS)
    steps = Counter(one.step for module in registry.MODULES for one in getattr(module, "REPAIRS", ()))
    assert [name for name, count in (names + steps).items() if max(names[name], steps[name]) > 1] == []
    # They are words of the command line, and in the JSON for good.
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in names)


def test_a_repair_is_a_step_of_roots_and_done_in_its_turn() -> None:
    assert list(registry.REPAIRS) == list(repair.STEPS), "REPAIRS of the checks, by place, and root's STEPS differ"


def repairs_named(source: str) -> Iterator[str]:
    """The repairs that findings in this source name, where they are written out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("problem", "warning"):
            given = [*node.args[2:], *(word.value for word in node.keywords if word.arg == "repair")]
            for one in (part for value in given for part in ast.walk(value)):
                if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value:
                    yield one.value.partition(":")[0]


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_a_finding_names_a_repair_that_there_is(path: Path) -> None:
    named = set(repairs_named(path.read_text("utf-8")))
    # The member's own program does the one that is no step of root's.
    assert named <= {*registry.REPAIRS, "environment"}


def test_the_test_itself_sees_what_a_finding_names() -> None:
    source = 'problem("a", "b", "roof" if x else "")\nwarning("a", "b", repair=f"cellar:{name}")'
    assert list(repairs_named(source)) == ["roof", "cellar"]
