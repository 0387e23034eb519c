"""Any identity: sentences for people, in the language of whoever reads them.

`_("{name} is now a member", name=name)` gives a `Message`: a string in the process's own language that remembers
what it was made of, so that it can cross a door as JSON and be told again in the language of a browser.
The catalogue is gettext's (locale/, kept by tools/messages); English is the language of the source.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyterhub4family.common import patterns
from jupyterhub4family.common.i18n import safe_text

if TYPE_CHECKING:
    import gettext

DOMAIN = "jupyterhub4family"
LOCALES = Path("/usr/share/locale")
#: The first one is what the source speaks.
LANGUAGES = ("en", "de")
_PLACEHOLDER = patterns.compiled(r"\{(\w+)\}")
#: Characters that values may add to one sentence, and how deep sentences may stand in sentences. What comes through
#: a door could else ask for a text that grows with every level.
_LONGEST = 10_000
_DEPTH = 8
#: Numbers from here on tell people nothing.
_LARGEST = 10**18


class Message(str):
    """A sentence in the process's language; `id` is its English original with {placeholders}, `values` fill them."""

    id: str
    values: dict[str, Any]

    def __new__(cls, text: str, id: str, values: Mapping[str, Any]) -> Message:
        """A message that reads `text` here."""
        message = super().__new__(cls, text)
        message.id, message.values = id, dict(values)
        return message

    def __reduce__(self) -> Any:
        """What copy and pickle need."""
        return Message, (str(self), self.id, self.values)


def _(id: str, /, **values: Any) -> Message:
    """The sentence `id` in the process's language, its {placeholders} filled with `values`.

    A value that is one of the system's own reasons (`OSError.strerror`) is told in that language as well.
    """
    for key, value in values.items():
        if isinstance(value, str) and value in SYSTEM_REASONS:
            values[key] = Message(catalogue(process_language()).gettext(value), str(value), {})
    return Message(_filled(catalogue(process_language()).gettext(id), id, values), id, values)


def N_(id: str) -> str:
    """Mark a sentence for the catalogue without translating it yet: `_(CONSTANT)` does that where it is used."""
    return id


#: What the C library says of the errors that people meet; it has no German where locales were not generated.
SYSTEM_REASONS = frozenset(
    (
        N_("Address already in use"),
        N_("Cannot allocate memory"),
        N_("Connection refused"),
        N_("Directory not empty"),
        N_("Disk quota exceeded"),
        N_("File exists"),
        N_("Input/output error"),
        N_("Is a directory"),
        N_("No space left on device"),
        N_("No such file or directory"),
        N_("Not a directory"),
        N_("Operation not permitted"),
        N_("Permission denied"),
        N_("Read-only file system"),
        N_("Too many levels of symbolic links"),
        N_("Too many open files"),
    )
)


def ngettext(one: str, many: str, count: int, /, **values: Any) -> str:
    """The sentence for `count` things, in the process's language; {count} stands for the number."""
    chosen = catalogue(process_language()).ngettext(one, many, count)
    return _filled(chosen, one if count == 1 else many, {"count": count, **values})


def decimal(number: float) -> str:
    """A number with one decimal, written as in the process's language: 3.5, and 3,5 in German."""
    text = f"{number:.1f}"
    return text.replace(".", ",") if process_language() == "de" else text


def joined(messages: Iterable[str]) -> Message:
    """Several sentences or words as one, with commas between, that can still be told in another language."""
    values = {f"part{number}": message for number, message in enumerate(messages)}
    id = ", ".join(f"{{{name}}}" for name in values)
    return Message(_filled(id, id, values), id, values)


def translated(message: str, language: str) -> str:
    """The same sentence in `language`; a plain string, which nobody has translated, stays as it is."""
    if not isinstance(message, Message):
        return message
    values = {
        key: translated(value, language) if isinstance(value, str) else value for key, value in message.values.items()
    }
    return _filled(catalogue(language).gettext(message.id), message.id, values)


def to_json(message: str) -> Any:
    """What goes through a door: a plain string as it is, a Message with what it was made of."""
    if not isinstance(message, Message):
        return str(message)
    values = {key: to_json(value) if isinstance(value, str) else value for key, value in message.values.items()}
    return {"text": str(message), "id": message.id, "values": values}


def from_json(untrusted: Any) -> str:
    """The other end of `to_json`, in this process's language; whatever is not understood becomes plain text.

    What comes from elsewhere is made printable here.
    """
    return _from_json(untrusted, _DEPTH)


def _from_json(untrusted: Any, depth: int) -> str:
    if not isinstance(untrusted, dict):
        return _plain(untrusted)
    identifier, values = untrusted.get("id"), untrusted.get("values")
    if depth == 0 or not isinstance(identifier, str) or not isinstance(values, dict):
        text = untrusted.get("text")
        return safe_text.printable(text) if isinstance(text, str) else ""
    identifier = safe_text.printable(identifier)
    plain = {str(key): _from_json(value, depth - 1) for key, value in values.items()}
    return Message(_filled(catalogue(process_language()).gettext(identifier), identifier, plain), identifier, plain)


def _plain(untrusted: Any) -> str:
    if isinstance(untrusted, str):
        return safe_text.printable(untrusted)
    if isinstance(untrusted, float) or (isinstance(untrusted, int) and abs(untrusted) < _LARGEST):
        return str(untrusted)
    # Python refuses to write some thousand digits (since 3.10.7), and takes long to do so.
    return ""


def process_language() -> str:
    """The language of whoever started this process (LANGUAGE, LC_ALL, LC_MESSAGES, LANG); English if we lack it."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    # As in gettext: LANGUAGE counts only when the locale is not plain C.
    preferred_languages = (
        os.environ.get("LANGUAGE", "").split(":") if locale.partition(".")[0] not in ("", "C", "POSIX") else []
    )
    return best_language([*preferred_languages, locale])


def language_variables() -> dict[str, str]:
    """Environment variables that make one of our own programs speak this process's language."""
    language = process_language()
    return {} if language == LANGUAGES[0] else {"LC_ALL": f"{language}_{language.upper()}.UTF-8"}


def best_language(preferred_languages: list[str]) -> str:
    """The first of those (such as `de_AT.UTF-8` or `de-AT`) that we speak; English if there is none."""
    for wanted in preferred_languages:
        code = wanted.replace("-", "_").partition("_")[0].partition(".")[0].lower()
        if code in LANGUAGES:
            return code
    return LANGUAGES[0]


def accepted_languages(untrusted_accept: str) -> list[str]:
    """The languages of an Accept-Language header, most wanted first; what is not understood is left out."""
    preferred_languages = []
    for place, part in enumerate(untrusted_accept[:1000].split(",")):
        language, _semicolon, quality = part.strip().partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if language and weight > 0:
            preferred_languages.append((-weight, place, language.strip()))
    return [language for _weight, _place, language in sorted(preferred_languages)]


class _Originals:
    """Sentences as they stand in the source: doors, which speak no other language, need no catalogue."""

    def gettext(self, id: str) -> str:
        """As gettext's own."""
        return id

    def ngettext(self, one: str, many: str, count: int) -> str:
        """As gettext's own."""
        return one if count == 1 else many


@functools.cache
def catalogue(language: str) -> gettext.NullTranslations | _Originals:
    """The translations into `language`; the originals where a catalogue is missing."""
    if language == LANGUAGES[0]:
        return _Originals()
    import gettext

    return gettext.translation(DOMAIN, str(LOCALES), [language], fallback=True)


def _filled(text: str, original: str, values: Mapping[str, Any]) -> str:
    """`text` with its {placeholders} filled; a translation with a wrong placeholder gives way to the original.

    Not str.format: what comes through a door could ask that for attributes, or for a width of a gigabyte.
    """
    if "{" not in text:
        return text
    names = set(_PLACEHOLDER.findall(text))
    chosen = text if names <= values.keys() else original
    remaining = _LONGEST

    def value(found: re.Match[str]) -> str:
        nonlocal remaining
        piece = str(values.get(found[1], found[0]))[:remaining]
        remaining -= len(piece)
        return piece

    return _PLACEHOLDER.sub(value, chosen)
