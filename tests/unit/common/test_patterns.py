"""common.patterns: expressions that are compiled at their first use do what Python's own do; all of ours are valid."""

from __future__ import annotations

import ast
import re

import pytest

from jupyterhub4family.common import patterns
from tests.unit.helpers import SRC


def test_they_do_the_same() -> None:
    ours, pythons = (
        patterns.compiled("(?P<letter>[a-c])x", re.IGNORECASE),
        re.compile("(?P<letter>[a-c])x", re.IGNORECASE),
    )
    for _again in range(2):
        found = ours.search("--BX-")
        assert found is not None and found["letter"] == "B" and found.span() == (2, 4)
        assert ours.fullmatch("bx") and not ours.fullmatch("bxx")
        assert ours.sub("-", "axbxc") == "--c" and ours.findall("ax CX") == ["a", "C"]
        assert (ours.pattern, ours.flags) == (pythons.pattern, pythons.flags)


def test_a_wrong_one_is_told_at_its_first_use() -> None:
    wrong = patterns.compiled("(")
    with pytest.raises(re.error):
        wrong.search("")


def test_nothing_is_compiled_before() -> None:
    assert vars(patterns.compiled("a")) == {"_given": ("a", 0)}


def test_all_of_ours_can_be_compiled() -> None:
    count = 0
    for file in (SRC / "jupyterhub4family").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "patterns.compiled":
                count += 1
                if isinstance(node.args[0], ast.Constant):
                    re.compile(str(node.args[0].value))
    assert count > 20
