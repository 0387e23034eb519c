"""Runs inside JupyterHub's process, as `jupyterhub`: in which language a page is told, and how templates tell it."""

from __future__ import annotations

from typing import Any, Optional

from jinja2 import Environment, pass_context
from jinja2.ext import InternationalizationExtension
from jinja2.runtime import Context

from jupyterhub4family.common.i18n.messages import (
    LANGUAGES,
    N_,
    Message,
    accepted_languages,
    best_language,
    catalogue,
    translated,
)

#: Set by the language switch at the foot of each page (static/family.js).
COOKIE = "jupyterhub4family-language"
#: How each language calls itself.
OWN_NAMES = {"en": "English", "de": "Deutsch"}

#: English sentences of JupyterHub's own that people meet in messages rather than in templates.
JUPYTERHUBS_SENTENCES = (
    N_("Invalid username or password"),
    N_("Login form invalid or expired. Try again."),
    N_("No access to resources or resources not found"),
    N_("Error"),
    N_("JupyterHub requires JavaScript."),
    N_("Please enable it to proceed."),
    N_("Toggle navigation"),
    N_("Close"),
)
#: What JupyterHub's page.html says in English outside of any block. If a later version says it otherwise, it stays so.
_IN_PAGE_HTML = {
    '<html lang="en">': '<html lang="{{ language }}">',
    "JupyterHub requires JavaScript.": '{{ "JupyterHub requires JavaScript." | localized }}',
    "Please enable it to proceed.": '{{ "Please enable it to proceed." | localized }}',
    'aria-label="Toggle navigation"': 'aria-label="{{ "Toggle navigation" | localized }}"',
    'aria-label="Close"': 'aria-label="{{ "Close" | localized }}"',
    "{{ title }}</h2>": "{{ title | localized }}</h2>",
}


def viewer_language(setting: str, untrusted_cookie: str, untrusted_accept: str) -> str:
    """The language for one viewer: what the family has set, else what they chose, else what the browser asks for."""
    if setting in LANGUAGES:
        return setting
    if untrusted_cookie in LANGUAGES:
        return untrusted_cookie
    return best_language(accepted_languages(untrusted_accept))


def handler_language(handler: Any, setting: str) -> str:
    """The same for whoever asks a handler."""
    return viewer_language(setting, handler.get_cookie(COOKIE, ""), handler.request.headers.get("Accept-Language", ""))


def in_language(message: str, language: str) -> str:
    """A Message, or a sentence of JupyterHub's that the catalogue knows, in `language`; else as it is."""
    if isinstance(message, Message):
        return translated(message, language)
    return catalogue(language).gettext(message) if message else ""


@pass_context
def localized(context: Context, message: Optional[str]) -> str:
    """Template filter: a message in the viewer's language, to be escaped like any other text."""
    return in_language(message or "", _language(context))


class Sentences(InternationalizationExtension):
    """Jinja's translation blocks, for the language that each page is rendered with."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
        environment.filters["localized"] = localized

    def preprocess(self, source: str, name: Optional[str], filename: Optional[str] = None) -> str:
        """Let JupyterHub's page.html, which ours extends, be translated where it has no blocks for that."""
        # Known to its loader by the name without the prefix; ours of the same name says nothing of this kind.
        if name in ("page.html", "templates/page.html"):
            for english, ours in _IN_PAGE_HTML.items():
                source = source.replace(english, ours)
        return source


def _language(context: Context) -> str:
    language: Any = context.get("language", LANGUAGES[0])
    return str(language)


@pass_context
def _gettext(context: Context, message: str) -> str:
    return catalogue(_language(context)).gettext(message)


@pass_context
def _ngettext(context: Context, one: str, many: str, count: int) -> str:
    return catalogue(_language(context)).ngettext(one, many, count)
