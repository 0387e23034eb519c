"""cli.settings_document: one value is changed, every other byte stays, and nothing is ever damaged."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterhub4family.cli.settings.document import HEADER, changed, has, without
from jupyterhub4family.common.errors import ConfigurationError
from jupyterhub4family.common.settings.model import KEYS, parse_text

FILE = "config.yaml"
OURS = """\
# What our portal is like. Do not touch, Ben!

port: 9000   # not 8000: the printer has that
# from Mum
family_name: 'The  Millers'

# names in the certificate
extra_names:   # all of them
  - nas        # in the cellar
  # and the old one
  - "fd00::1"

login_help: |
  Ask Mum.

  Or Dad.


# the end
"""


def values(text: str) -> dict[str, Any]:
    return {name: KEYS[name].to_plain(origin.value) for name, origin in parse_text(text, FILE).items()}


def set_to(text: str, name: str, value: Any) -> str:
    return changed(text, KEYS[name], KEYS[name].from_plain(value), FILE)


def test_a_new_file_says_where_the_keys_are_explained() -> None:
    assert set_to("", "port", 9000) == f"{HEADER}port: 9000\n"
    assert set_to("# mine\n", "port", 9000) == "# mine\nport: 9000\n"
    assert set_to("# mine", "port", 9000) == "# mine\nport: 9000\n"
    assert set_to("https: true", "port", 9000) == "https: true\nport: 9000\n"
    assert set_to("https: true\r\n", "port", 9000) == "https: true\r\nport: 9000\r\n"


@pytest.mark.parametrize(
    ("name", "value", "before", "after"),
    [
        ("port", 9001, "port: 9000   #", "port: 9001   #"),
        ("family_name", "Us", "'The  Millers'", "Us"),
        ("family_name", "No", "'The  Millers'", '"No"'),
        ("family_name", "a: b # c", "'The  Millers'", '"a: b # c"'),
        ("login_help", "Ask Ben.", "|\n  Ask Mum.\n\n  Or Dad.\n", "Ask Ben.\n"),
        ("extra_names", [], ":   # all of them\n  - nas        # in the cellar\n", ": []   # all of them\n"),
        ("https", True, "# the end\n", "# the end\nhttps: true\n"),
    ],
)  # fmt: skip
def test_everything_else_stays(name: str, value: Any, before: str, after: str) -> None:
    expected = OURS.replace(before, after)
    if name == "extra_names":
        expected = expected.replace('  - "fd00::1"\n', "")
    assert expected != OURS
    assert set_to(OURS, name, value) == expected
    assert values(expected) == {**values(OURS), name: value}


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("port", "port: 9000   # not 8000: the printer has that\n"),
        ("family_name", "family_name: 'The  Millers'\n"),
        ("extra_names", OURS[OURS.index("extra_names:") : OURS.index("\nlogin_help")]),
        ("login_help", "login_help: |\n  Ask Mum.\n\n  Or Dad.\n"),
        ("https", ""),
    ],
)
def test_unset_takes_only_its_own_lines(name: str, gone: str) -> None:
    assert without(OURS, name, FILE) == OURS.replace(gone, "")


def test_a_bad_value_can_be_mended_or_taken_away() -> None:
    assert set_to("port: x\nlisten: lan\n", "port", 9000) == "port: 9000\nlisten: lan\n"
    assert without("prot: 1\nport: 9000\n", "prot", FILE) == "port: 9000\n"
    assert without("port: 9000\nport: 9001\nlisten: lan\n", "port", FILE) == "listen: lan\n"
    assert has("prot: 1", "prot", FILE) and not has("prot: 1", "port", FILE)


@pytest.mark.parametrize(
    "text", ["port: x\n", "prot: 1\n", "port: 9000\nport: 9001\n", "hub_port: 8000\n", "https: false\n", "a: [", "- a"]
)
def test_a_file_that_would_stay_bad_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=FILE):
        set_to(text, "family_name", "Us")


def test_values_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="different numbers"):
        set_to("", "port", 8081)
    with pytest.raises(ConfigurationError, match="without HTTPS"):
        set_to("", "https", False)
    with pytest.raises(ConfigurationError, match="without HTTPS"):
        without("https: false\nlisten: local\n", "listen", FILE)


@pytest.mark.parametrize(
    "text",
    [
        "{port: 9000}",
        "family_name: &a Us\nlogin_help: *a\n",
        "login_help: &a Us\nfamily_name: *a\n",
        "port: 9000\n...\n",
        "? family_name\n: Us\n",
        "family_name: |-\n  Us\nlisten: lan\n  # a comment\nport: 9000\n",
    ],
)
def test_artful_files_are_changed_rightly_or_refused(text: str) -> None:
    for name, value in (("family_name", "Them"), ("login_help", "x"), ("listen", "local")):
        try:
            after = set_to(text, name, value)
        except ConfigurationError as error:
            assert "only a person can change" in error.message and "config edit" in error.hint
        else:
            assert values(after) == {**values(text), name: value}


def test_a_comment_that_would_become_text_is_not_moved() -> None:
    text = "family_name: |-\n  Us\nlisten: lan\n  # a comment\n"
    with pytest.raises(ConfigurationError, match="only a person can change"):
        without(text, "listen", FILE)
