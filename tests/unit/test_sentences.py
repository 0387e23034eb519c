"""Sentences for people are marked for the catalogue, wherever they stand, and their placeholders are filled."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.unit.helpers import SRC

PACKAGE = SRC / "jupyterhub4family"
MODULES = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
#: A hint may be nothing but a command of ours.
COMMAND = re.compile(r"(sudo )?jupyterhub4family ")
#: Two words in a row: somebody is told something.
WORDS = re.compile(r"[A-Za-z]{2,}[,;:]? [a-z]{2,}")


def name_of(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


def family_errors() -> set[str]:
    """FamilyError and every class made from it."""
    found = {"FamilyError"}
    classes = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for _round in range(3):
        found |= {one.name for one in classes if found & {name_of(base) for base in one.bases}}
    return found


ERRORS = family_errors()


def literal(node: ast.expr) -> str:
    """The text that stands in the source for `node`, without what is put into it; empty if it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return ""


def unmarked(tree: ast.AST, room: str) -> Iterator[str]:
    """Sentences in `tree` that nobody could translate."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = name_of(call.func)
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        if name in ERRORS:
            texts = [literal(node) for node in [*call.args, *(named.get(key) for key in ("message", "hint"))] if node]
            yield from (text for text in texts if text and not COMMAND.match(text))
        elif name in ("tell", "progress", "_tell") and len(call.args) == 2:
            yield from filter(None, [literal(call.args[1])])
        elif name == "print" and room in ("cli", "root", "user"):
            yield from (text for text in map(literal, call.args) if WORDS.search(text))
        elif name in ("add_parser", "add_argument", "ArgumentParser") and room == "cli":
            texts = [literal(named[key]) for key in ("help", "description", "epilog") if key in named]
            yield from filter(None, texts)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_sentences_are_marked(module: str) -> None:
    assert list(unmarked(MODULES[module], module.partition("/")[0])) == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_marked_sentences_are_texts_with_all_their_values(module: str) -> None:
    for call in ast.walk(MODULES[module]):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in ("_", "N_"):
            continue
        # A name, or what a table of N_("…") holds; but nothing that is put together here.
        assert not isinstance(call.args[0], (ast.JoinedStr, ast.BinOp, ast.IfExp)), ast.unparse(call)
        if call.func.id == "_" and isinstance(call.args[0], ast.Constant):
            wanted = set(re.findall(r"\{(\w+)\}", str(call.args[0].value)))
            assert {keyword.arg for keyword in call.keywords} == wanted, ast.unparse(call)


@pytest.mark.parametrize(
    "source",
    [
        'raise FamilyError("a full disk")',
        'raise UsageError(_("wrong"), f"call it {name}")',
        'raise FamilyError(_("wrong"), hint="try again")',
        'raise errors.RefusedError("no " + name)',
        'tell(3, "Fetching")',
        'print(f"{name} is here")',
        'parser.add_argument("name", help="a member")',
    ],
)
def test_what_is_not_marked_is_found(source: str) -> None:
    assert list(unmarked(ast.parse(source), "cli")) != []
