"""hub.language: which language a viewer gets, and how templates tell sentences in it."""

from __future__ import annotations

import gettext
from typing import Any

import jinja2
import pytest

from jupyterhub4family.common.i18n.messages import Message, accepted_languages
from jupyterhub4family.hub import language
from jupyterhub4family.hub.language import Sentences, viewer_language
from tests.unit.helpers import DATA

TEMPLATES = DATA / "usr/share/jupyterhub4family/templates"


class German(gettext.NullTranslations):
    """A catalogue of three sentences."""

    sentences = {  # noqa: RUF012
        "Start": "Starten",
        "Hello %(name)s": "Hallo %(name)s",
        "{name} is late": "{name} kommt <zu> spät",
        "Toggle navigation": "Menü",
    }

    def gettext(self, message: str) -> str:
        return self.sentences.get(message, message)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    catalogues = {"en": gettext.NullTranslations(), "de": German()}
    monkeypatch.setattr(language, "catalogue", lambda code: catalogues[code])
    monkeypatch.setattr("jupyterhub4family.common.i18n.messages.catalogue", lambda code: catalogues[code])
    theirs = {"page.html": '<html lang="en"><b aria-label="Toggle navigation">{% block main %}{% endblock %}'}
    loader = jinja2.ChoiceLoader([jinja2.PrefixLoader({"templates": jinja2.DictLoader(theirs)})])
    return jinja2.Environment(loader=loader, autoescape=True, extensions=[Sentences])


@pytest.mark.parametrize(
    ("setting", "cookie", "accept", "expected"),
    [
        ("auto", "", "", "en"),
        ("auto", "", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("auto", "", "en;q=0.5, de", "de"),
        ("auto", "", "fr, en;q=0.1, de;q=0.2", "de"),
        ("auto", "", "de;q=0, en", "en"),
        ("auto", "", "fr-FR,fr", "en"),
        ("auto", "en", "de", "en"),
        ("auto", "klingon", "de", "de"),
        ("auto", "../../etc", "", "en"),
        ("de", "en", "en", "de"),
        ("en", "de", "de", "en"),
    ],
)
def test_setting_then_choice_then_browser(setting: str, cookie: str, accept: str, expected: str) -> None:
    assert viewer_language(setting, cookie, accept) == expected


@pytest.mark.parametrize("nonsense", [",,,", "de;q=x", ";", "de;;q=1", "\0", "x" * 5000, "de;q=nan", "de;q=inf"])
def test_nonsense_from_a_browser_does_no_harm(nonsense: str) -> None:
    assert isinstance(accepted_languages(nonsense), list)
    assert viewer_language("auto", nonsense, nonsense) in ("en", "de")


def test_templates_speak_the_viewers_language(environment: Any) -> None:
    template = environment.from_string('{{ _("Start") }} {% trans name=who %}Hello {{ name }}{% endtrans %}')
    assert template.render(language="de", who="<Anna>") == "Starten Hallo &lt;Anna&gt;"
    assert template.render(language="en", who="Anna") == "Start Hello Anna"
    assert template.render(who="Anna") == "Start Hello Anna"


def test_messages_are_told_and_escaped(environment: Any) -> None:
    template = environment.from_string("{{ message | localized }}")
    message = Message("Anna is late", "{name} is late", {"name": "<b>"})
    assert template.render(language="de", message=message) == "&lt;b&gt; kommt &lt;zu&gt; spät"
    assert template.render(language="de", message="<script>") == "&lt;script&gt;"
    assert template.render(language="de", message=None) == ""
    assert template.render(language="de", message="100% {name}") == "100% {name}"


def test_what_jupyterhubs_page_says_outside_of_blocks(environment: Any) -> None:
    template = environment.from_string('{% extends "templates/page.html" %}{% block main %}x{% endblock %}')
    assert template.render(language="de") == '<html lang="de"><b aria-label="Menü">x'
    assert template.render(language="en") == '<html lang="en"><b aria-label="Toggle navigation">x'


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html")))
def test_our_templates_can_be_parsed(environment: Any, name: str) -> None:
    environment.parse((TEMPLATES / name).read_text("utf-8"), name)
