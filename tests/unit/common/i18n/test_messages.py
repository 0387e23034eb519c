"""Sentences in the reader's language."""

from __future__ import annotations

import copy
import gettext
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages import mofile
from babel.messages.catalog import Catalog

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.i18n.messages import Message, _, from_json, joined, ngettext, to_json, translated

GERMAN: dict[Any, Any] = {
    "{name} is now a member": "{name} gehört jetzt dazu",
    "because {reason}": "weil {reason}",
    "wrong {placeholder}": "falsch {platzhalter}",
    ("{count} member", "{count} members"): ("{count} Mitglied", "{count} Mitglieder"),
}


@pytest.fixture(autouse=True)
def german(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A catalogue of its own, so that the test says what it expects."""
    catalog = Catalog(locale="de")
    for original, translation in GERMAN.items():
        catalog.add(original, translation)
    file = io.BytesIO()
    mofile.write_mo(file, catalog)
    file.seek(0)
    german = gettext.GNUTranslations(file)
    empty = gettext.NullTranslations()
    monkeypatch.setattr(messages, "catalogue", {"de": german, "en": empty}.__getitem__)
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield


def test_the_process_speaks_its_users_language(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _("{name} is now a member", name="anna") == "anna is now a member"
    monkeypatch.setenv("LANG", "de_AT.UTF-8")
    assert _("{name} is now a member", name="anna") == "anna gehört jetzt dazu"
    assert ngettext("{count} member", "{count} members", 2) == "2 Mitglieder"
    assert ngettext("{count} member", "{count} members", 1) == "1 Mitglied"
    assert _("never translated") == "never translated"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "de"),
        ({"LANG": "de"}, "de"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LANGUAGE": "fr:de:en"}, "de"),
        ({"LANG": "C", "LANGUAGE": "de"}, "en"),
    ],
)
def test_which_language(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert messages.process_language() == language


def test_a_message_can_be_told_again_in_another_language() -> None:
    inner = _("{name} is now a member", name="anna")
    message = _("because {reason}", reason=inner)
    assert translated(message, "de") == "weil anna gehört jetzt dazu"
    assert message == "because anna is now a member"
    assert translated("plain", "de") == "plain"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_remember(again) -> None:  # type: ignore[no-untyped-def]
    assert translated(again(_("because {reason}", reason="so")), "de") == "weil so"


def test_a_message_crosses_a_door(monkeypatch: pytest.MonkeyPatch) -> None:
    message = _("because {reason}", reason=_("{name} is now a member", name="anna"))
    line = json.dumps(to_json(message))
    back = from_json(json.loads(line))
    assert back == message and translated(back, "de") == "weil anna gehört jetzt dazu"
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert from_json(json.loads(line)) == "weil anna gehört jetzt dazu"
    assert from_json(to_json("plain")) == "plain" and not isinstance(from_json("plain"), Message)


def test_a_wrong_translation_gives_way_to_the_original() -> None:
    assert translated(_("wrong {placeholder}", placeholder="x"), "de") == "wrong x"


@pytest.mark.parametrize(
    ("untrusted", "text"),
    [
        (None, ""),
        (3, "3"),
        ({"text": "t"}, "t"),
        ({"id": 3, "values": {}, "text": "t"}, "t"),
        ({"id": "{a.__class__}", "values": {"a": "x"}}, "{a.__class__}"),
        ({"id": "{a:999999999}", "values": {"a": "x"}}, "{a:999999999}"),
        ({"id": "{a}{b}", "values": {"a": {"b": 1}}}, "{b}"),
        ({"id": "{a}", "values": {"a": "{b}", "b": "x"}}, "{b}"),
        ([1, 2], ""),
        ({"text": ["t"]}, ""),
        ({"id": "{a}", "values": {"a": [[[]]]}}, ""),
    ],
)
def test_what_comes_through_a_door_is_only_text(untrusted: object, text: str) -> None:
    assert from_json(untrusted) == text


def test_what_comes_through_a_door_cannot_grow() -> None:
    bomb: Any = "x" * 1000
    for _level in range(50):
        bomb = {"id": "{a}" * 100, "values": {"a": bomb}}
    reported = from_json(bomb)
    assert len(reported) <= 11_000 and len(translated(reported, "de")) <= 11_000
    deep = json.loads('{"id": "{a}", "values": {"a": ' * 200 + '"x"' + "}}" * 200)
    assert from_json(deep) == ""
    assert from_json({"id": "{a}", "values": {"a": "x" * 20_000}}) == "x" * 10_000


def test_a_number_has_its_decimal_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    assert messages.decimal(3.46) == "3.5" and messages.decimal(1234) == "1234.0"
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert messages.decimal(3.46) == "3,5" and messages.decimal(1234) == "1234,0"


def test_several_sentences_as_one() -> None:
    both = joined([_("{name} is now a member", name="anna"), "plain"])
    assert both == "anna is now a member, plain"
    assert translated(_("because {reason}", reason=both), "de") == "weil anna gehört jetzt dazu, plain"
    assert joined([]) == ""


@pytest.mark.parametrize("language", ["en", "de"])
def test_our_own_programs_can_be_given_the_language(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    monkeypatch.setenv("LANG", f"{language}_XX.UTF-8")
    variables = {"LC_ALL": "C.UTF-8", **messages.language_variables()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert messages.process_language() == language


def test_languages_have_a_catalogue() -> None:
    directory = Path(__file__).resolve().parents[4] / "locale"
    assert {path.name for path in directory.iterdir() if path.is_dir()} == set(messages.LANGUAGES) - {"en"}
