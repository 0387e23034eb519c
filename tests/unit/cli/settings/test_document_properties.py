"""cli.settings_document, with files and values that hypothesis makes up: set then get, and comments stay."""

from __future__ import annotations

import contextlib
from typing import Any

import yaml

from tests.unit.properties import thorough  # first: it passes over this file where hypothesis is missing

# isort: split
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.cli.settings.document import without, written
from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.settings.model import KEYS, parse_text, settings_of
from tests.unit.cli.settings.test_document import FILE, set_to, values

LINE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="\xa0"), max_size=60).filter(
    str.isprintable
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "port": st.integers(9000, 60000),
    "start_timeout": st.integers(10, 3600),
    "listen": st.sampled_from(["lan", "local"]),
    "https": st.just(True),
    "language": st.sampled_from(["auto", "en", "de"]),
    "family_name": LINE,
    "login_help": st.lists(LINE, max_size=4).map("\n".join).map(lambda text: text.rstrip("\n")),
    "extra_names": st.lists(
        st.one_of(st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,5})?", fullmatch=True), st.ip_addresses().map(str)),
        max_size=4,
        unique=True,
    ),
}
CHANGES = st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))


def by_hand(value: Any, name: str) -> st.SearchStrategy[str]:
    """Ways in which somebody may have written that."""
    ways = [yaml.safe_dump({name: value}, allow_unicode=True), f"{name}: {written(value)}\n"]
    ways += [yaml.safe_dump({name: value}, default_style=style) for style in "'|>\""] * isinstance(value, str)
    ways += [f"{name}:  {written(value)}   # why\n", f"{name}:\n\n  {written(value)} # why\n"]
    return st.sampled_from(ways)


@st.composite
def files(draw: st.DrawFn) -> str:
    parts = []
    for name in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True)):
        parts.append(draw(st.sampled_from(["", "\n", "# a comment\n", "\n\n  # one more\n"])))
        parts.append(draw(by_hand(draw(VALUES[name]), name)))
    parts.append(draw(st.sampled_from(["", "\n", "# the end\n", "# the end"])))
    return "".join(parts)


def is_good(text: str) -> bool:
    try:
        settings_of(parse_text(text, FILE), FILE)
    except ConfigurationError:
        return False
    return True


@thorough
@given(text=files().filter(is_good), change=CHANGES)
def test_what_was_set_is_read_back_and_nothing_else_changes(text: str, change: tuple[str, Any]) -> None:
    name, value = change
    after = set_to(text, name, value)
    assert values(after) == {**values(text), name: value}
    assert after.count("# a comment") == text.count("# a comment")
    assert after.count("# one more") == text.count("# one more")
    assert after.count("# the end") == text.count("# the end")
    assert set_to(after, name, value) == after, "the second time changes nothing"


@thorough
@given(text=files().filter(is_good), name=st.sampled_from(sorted(VALUES)))
def test_what_was_unset_is_gone_and_nothing_else(text: str, name: str) -> None:
    try:
        after = without(text, name, FILE)
    except ConfigurationError as error:
        # An indented comment would come to stand under a text of several lines, and belong to it.
        assert "only a person can change" in error.message and "  # one more" in text
        return
    assert values(after) == {key: value for key, value in values(text).items() if key != name}
    for comment in ("# a comment", "# one more", "# the end"):
        assert after.count(comment) == text.count(comment)
    assert name in values(text) or after == text


@thorough
@given(change=CHANGES)
def test_the_command_line_says_what_the_file_says(change: tuple[str, Any]) -> None:
    name, value = change
    key = KEYS[name]
    parsed = key.from_plain(value)
    assert key.from_text(key.to_text(parsed)) == parsed and key.to_plain(parsed) == value
    assert values(f"{name}: {written(value)}\n") == {name: value}
    # Other programs understand it likewise.
    assert yaml.safe_load(f"{name}: {written(value)}\n") == {name: value}


@thorough
@given(text=st.text(max_size=80), name=st.sampled_from(sorted(KEYS)))
def test_no_text_makes_a_traceback(text: str, name: str) -> None:
    with contextlib.suppress(ConfigurationError):
        assert is_good(set_to(text, name, KEYS[name].plain_default))
    with contextlib.suppress(ConfigurationError):
        assert is_good(without(text, name, FILE))
