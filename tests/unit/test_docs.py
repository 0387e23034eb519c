"""The handbook is right about what can be seen from here: commands, keys, statuses, links, pictures, languages."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyterhub4family.cli.main import build_parser
from jupyterhub4family.common.errors import ExitStatus
from jupyterhub4family.common.settings.model import KEYS
from tests.machine.lib.project import commands_of_readme
from tests.unit.helpers import ROOT
from tools.manual.generated import MARK, whole_page

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
#: What a parent reads is there in both languages, page by page.
EXPLAINED = [DOCS / f"explanation/{name}.md" for name in ("certificates", "environments", "security")]
TRANSLATED = sorted([DOCS / "README.md", *DOCS.glob("tutorial/*.md"), *DOCS.glob("howto/*.md"), *EXPLAINED])
#: Commands that come with other branches; as soon as one is there, its calls are tried.
AWAITED: set[str] = set()
COMMANDS = DOCS / "reference/commands.md"
FENCE = re.compile(r"^( *)```(\{?[\w-]*\}?)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", text_of(page))


def blocks(page: Path) -> list[str]:
    """Its blocks of code, without comments, empty lines, what belongs to Sphinx and what programs say."""
    found = []
    for _indent, language, body in FENCE.findall(text_of(page)):
        if language == "text" or language.startswith("{"):
            continue
        lines = (re.sub(r"(^|\s+)# .*", "", line).strip() for line in body.splitlines())
        found.append("\n".join(line for line in lines if line))
    return found


def said_by_programs(page: Path) -> list[str]:
    """Its blocks that show what a program says: in German other words than in English."""
    return [body for _indent, language, body in FENCE.findall(text_of(page)) if language == "text"]


def anchors(page: Path) -> set[str]:
    """What one can jump to in a page: GitHub and Sphinx make the same names of headings."""
    headings = re.findall(r"^#{1,3} +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- links -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert ROOT in target.parents or target == ROOT
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


def test_links_are_found_and_judged(tmp_path: Path) -> None:
    """The test above would notice."""
    page = tmp_path / "page.md"
    page.write_text("# One & Two: `three`\n[a](b.md#c) ![p](x.png)\n```bash\n[no](link.md)  # x\n```\n")
    assert LINK.findall(prose(page)) == ["b.md#c", "x.png"]
    assert anchors(page) == {"one--two-three"}


def test_every_picture_is_used_and_small() -> None:
    shown = {Path(link).name for page in PAGES for link in LINK.findall(text_of(page)) if link.endswith(".png")}
    kept = {path.name: path.stat().st_size for path in DOCS.glob("pictures/*")}
    assert set(kept) == shown
    assert max(kept.values()) < 150_000, "tools/pictures makes them smaller"


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"^(\d+)\. .*\((\d{4})-[\w-]+\.md\)$", text_of(DOCS / "adr/README.md"), re.MULTILINE)
    there = [path.name[:4] for path in sorted(DOCS.glob("adr/0*.md"))]
    assert [number for _, number in listed] == there


# -- two languages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TRANSLATED, ids=name_of)
def test_a_german_page_says_the_same(page: Path) -> None:
    german = DOCS / "de" / page.relative_to(DOCS)
    assert german.exists()
    for text in (page, german):
        assert "\n\n\n" not in text_of(text)
    lines = [[block.count("\n") for block in said_by_programs(one)] for one in (page, german)]
    assert lines[0] == lines[1], "as much of what programs say"
    assert blocks(german) == blocks(page), "the same commands"
    levels = [re.findall(r"^(#+) ", prose(one), re.MULTILINE) for one in (page, german)]
    assert levels[0] == levels[1], "the same headings"
    assert len(LINK.findall(prose(page))) == len(LINK.findall(prose(german))), "the same links"


def test_no_german_page_is_alone() -> None:
    german = {path.relative_to(DOCS / "de") for path in DOCS.glob("de/**/*.md")} - {Path("index.md")}
    assert german == {path.relative_to(DOCS) for path in TRANSLATED}


# -- reference -------------------------------------------------------------------------------------


def words_of(parser: argparse.ArgumentParser, args: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command with its options, as one can type them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in {choice.dest for choice in action._choices_actions}:
                yield " ".join([*args, name])
                yield from words_of(action.choices[name], (*args, name))
        elif action.help != argparse.SUPPRESS:
            yield from action.option_strings


def test_every_command_and_option_is_in_the_reference() -> None:
    """As tools/docs makes it; readers of the folder are told where else it is told."""
    page = whole_page("reference/commands", text_of(COMMANDS))
    missing = [args for args in set(words_of(build_parser())) if not re.search(rf"`{re.escape(args)}[` ]", page)]
    assert missing == []


def commands_in_pages() -> Iterator[tuple[Path, str]]:
    """Every call of the command that a page shows."""
    for page in PAGES:
        if page.name == "CHANGELOG.md" or page == COMMANDS:
            continue
        inline = re.findall(r"`((?:sudo )?(?:jupyterhub4family|jh4f) [^`]+)`", prose(page))
        lines = [line for block in blocks(page) for line in block.splitlines()]
        for line in [*inline, *lines]:
            args = re.sub(r"^sudo |\s*\\?\|.*", "", line)  # what is before a pipe
            if re.match(r"(jupyterhub4family|jh4f) [a-z]", args) and "…" not in args:
                yield page, args


@pytest.mark.parametrize(("page", "line"), sorted(set(commands_in_pages())), ids=str)
def test_commands_in_pages_exist(page: Path, line: str) -> None:
    args = shlex.split(line)[1:]
    if args[0] in AWAITED - set(words_of(build_parser())):
        pytest.skip(f"{args[0]} is not there yet")
    try:
        build_parser().parse_args(args)
    except SystemExit as ended:
        pytest.fail(f"{name_of(page)}: {line}: no such command ({ended.code})")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_setting_is_in_the_reference(key: str) -> None:
    assert f"`{key}`" in whole_page("reference/configuration", text_of(DOCS / "reference/configuration.md"))


@pytest.mark.parametrize("name", ["commands", "configuration"])
def test_a_page_with_a_generated_part_has_its_place_once_and_says_where_else_to_look(name: str) -> None:
    text = text_of(DOCS / f"reference/{name}.md")
    assert text.count(MARK) == 1 and "`man jupyterhub4family" in text and "`tools/docs`" in text
    whole = whole_page(f"reference/{name}", text)
    assert len(whole.splitlines()) > 100 and MARK not in whole
    assert whole_page("reference/files", text) == text


@pytest.mark.parametrize("status", ExitStatus)
def test_every_exit_status_is_in_the_reference(status: ExitStatus) -> None:
    assert re.search(rf"^\| {int(status)} \| {status.name} \| .+ \|", text_of(DOCS / "reference/exit-status.md"), re.M)


# -- what is shown ---------------------------------------------------------------------------------


def test_the_readme_has_two_commands_that_can_be_called() -> None:
    """tests/machine/test_install.py calls the first of them; whoever calls ./test, the second."""
    calls = commands_of_readme()
    assert len(calls) == 2
    for call in calls:
        sudo, program = call.split()
        assert sudo == "sudo" and os.access(ROOT / program, os.X_OK)
    assert "Two commands" in text_of(ROOT / "README.md")
    assert len(text_of(ROOT / "README.md").splitlines()) <= 70, "one screen for a parent"


@pytest.mark.parametrize(("page", "which"), [("howto/install.md", 0), ("de/howto/install.md", 1)])
def test_what_install_is_shown_to_say_are_sentences_of_ours(page: str, which: int) -> None:
    """That it says just these is seen by tests/machine/test_install.py; here, that both languages keep up."""
    pofile = pytest.importorskip("babel.messages.pofile")
    with (ROOT / "locale/de/LC_MESSAGES/jupyterhub4family.po").open("rb") as file:
        catalogue = [(one.id, one.string) for one in pofile.read_po(file) if isinstance(one.id, str) and one.id]
    sentences = [line for pair in catalogue for line in pair[which].splitlines()]
    (shown,) = said_by_programs(DOCS / page)
    assert [line for line in shown.splitlines() if not is_said(plain_of(line), sentences)] == []
    assert len(shown.splitlines()) > 15
    assert not is_said("Kaffee wird gekocht" if which else "Making coffee", sentences), "the test would notice"


def plain_of(line: str) -> str:
    """A line that ./install says without what is no sentence: percents, dots, addresses, the fingerprint."""
    return re.sub(r"^ *\d+ %: | …$|\bhttps?://\S+ *|^ *(?:[0-9A-F]{2}:?)+$", "", line).strip()


def is_said(line: str, sentences: list[str]) -> bool:
    """Whether `line` is a sentence with its placeholders filled: by one word, a command, or a sentence again."""
    if not line or re.fullmatch(r"\S+|sudo [\w ]+", line):
        return True
    for message in sentences:
        args = re.split(r"\{\w+\}", message)
        found = re.fullmatch("(.+)".join(map(re.escape, args)), line) if re.search(r"\w", "".join(args)) else None
        if found and all(is_said(part, sentences) for part in found.groups()):
            return True
    return False
