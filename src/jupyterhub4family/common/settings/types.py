"""Any identity: what one settings key is: kind, default, range, meaning. Everything about a key follows from this.

Validation, the command `config`, the reference page, the sample file, the manual page and shell completion all read
these descriptions; the keys themselves stand in common/settings/model.py.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyterhub4family.common.i18n.messages import N_, Message, _

#: What has to be restarted before a changed value counts.
HUB = "hub"
HUB_AND_PROXY = "all"
NOTHING = "nothing"

_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE)
#: A share of at least 5 %, or whole megabytes or gigabytes.
_MEMORY = re.compile(r"([5-9]|[1-9][0-9]|100)%|[1-9][0-9]{0,6}[MG]")
_MEMBER_LIMIT = re.compile(r"(?P<name>[a-z][-a-z0-9_]{0,31})\.(?P<what>[a-z]+)=(?P<value>\S{1,20})")
#: Bytes. A server needs about 110 MB, and a kernel half of that.
LEAST_MEMORY = 256 * 2**20
#: What YAML 1.1 takes for true and false, so that nobody has to know which of them it is.
_SWITCH_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class BadValue(ValueError):
    """A value that a key does not take; `sentence` says why, beginning with the key."""

    def __init__(self, message: Message, hint: str = "") -> None:
        super().__init__(message)
        self.sentence = message
        self.hint = hint


@dataclass(frozen=True)
class Key:
    """One key of the settings file. `meaning` is one English sentence, marked for translation."""

    default: Any
    meaning: str
    restarts: str = HUB
    #: What an expert or somebody in trouble may want to know, beyond the one sentence.
    more: str = ""
    since: str = "0.1"
    name: str = ""

    #: How the reference calls values of this kind.
    kind = N_("a value")

    def check(self, value: Any) -> None:
        """Raise BadValue unless `value` is one for this key, of the right type."""
        raise NotImplementedError

    def from_text(self, untrusted: str) -> Any:
        """The value that somebody means who wrote this text. Raises BadValue."""
        raise NotImplementedError

    def from_list(self, untrusted: list[str]) -> Any:
        """The value that somebody means who wrote a list of these texts. Raises BadValue."""
        raise self._no_such(untrusted)

    def to_text(self, value: Any) -> str:
        """How `value` is written on a command line; `from_text` understands it."""
        return str(value)

    @property
    def allowed(self) -> str:
        """What is allowed, in the process's language; for the reference and for errors."""
        return _(self.kind)

    def words(self) -> tuple[str, ...]:
        """All values there are, where they are few; for shell completion."""
        return ()

    def _no_such(self, value: Any, hint: str = "") -> BadValue:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:80] + " …"
        return BadValue(_("{key} must be {what}, not {value}", key=self.name, what=self.allowed, value=shown), hint)


@dataclass(frozen=True)
class Number(Key):
    """A whole number between two borders, both allowed."""

    minimum: int = 0
    maximum: int = 0

    @property
    def allowed(self) -> str:
        """Both borders, too."""
        return _("a whole number from {minimum} to {maximum}", minimum=self.minimum, maximum=self.maximum)

    def check(self, value: Any) -> None:
        """Python thinks that True is a whole number; nobody else does."""
        if type(value) is not int or not self.minimum <= value <= self.maximum:
            raise self._no_such(value)

    def from_text(self, untrusted: str) -> Any:
        """Plain digits only: YAML would read 010 as eight and 1:30 as ninety."""
        if not _PLAIN_NUMBER.fullmatch(untrusted):
            raise self._no_such(untrusted, _("write plain digits, such as {example}", example=self.default))
        value = int(untrusted)
        self.check(value)
        return value


@dataclass(frozen=True)
class Switch(Key):
    """True or false."""

    kind = N_("true or false")

    def check(self, value: Any) -> None:
        """Only the real ones."""
        if type(value) is not bool:
            raise self._no_such(value)

    def from_text(self, untrusted: str) -> Any:
        """Also yes, no, on, off, in any case."""
        try:
            return _SWITCH_WORDS[untrusted.lower()]
        except KeyError:
            raise self._no_such(untrusted) from None

    def to_text(self, value: Any) -> str:
        """As YAML writes it."""
        return "true" if value else "false"

    def words(self) -> tuple[str, ...]:
        """Both."""
        return ("true", "false")


@dataclass(frozen=True)
class Choice(Key):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """All of them."""
        return _("one of {choices}", choices=", ".join(self.choices))

    def check(self, value: Any) -> None:
        """Exactly as it is written in the list."""
        if type(value) is not str or value not in self.choices:
            raise self._no_such(value)

    def from_text(self, untrusted: str) -> Any:
        """Nothing is guessed."""
        self.check(untrusted)
        return untrusted

    def words(self) -> tuple[str, ...]:
        """The choices."""
        return self.choices


@dataclass(frozen=True)
class Text(Key):
    """Text for people, at most `maximum` characters; with `lines` it may have several lines."""

    maximum: int = 80
    lines: bool = False

    @property
    def allowed(self) -> str:
        """Its length, too."""
        if self.lines:
            return _("text of at most {maximum} characters", maximum=self.maximum)
        return _("one line of at most {maximum} characters", maximum=self.maximum)

    def check(self, value: Any) -> None:
        """No control characters: it stands in pages and in terminals."""
        if type(value) is not str or len(value) > self.maximum:
            raise self._no_such(value)
        if not (value.replace("\n", "") if self.lines else value).isprintable():
            raise self._no_such(value)

    def from_text(self, untrusted: str) -> Any:
        """As it is, without the line break at its end that YAML's | leaves."""
        value = untrusted.rstrip("\n") if self.lines else untrusted
        self.check(value)
        return value


@dataclass(frozen=True)
class Matching(Text):
    """One word of a form of its own, or nothing."""

    pattern: str = ""
    what: str = ""
    maximum: int = 200

    @property
    def allowed(self) -> str:
        """In words: few people read patterns."""
        return _(self.what)

    def check(self, value: Any) -> None:
        """It stands in files of other programs, so nothing else may be in it."""
        super().check(value)
        if value and not re.fullmatch(self.pattern, value):
            raise self._no_such(value)


@dataclass(frozen=True)
class Names(Key):
    """A list of host names and IP addresses."""

    maximum: int = 50
    kind = N_("a list of host names and IP addresses")

    def check(self, value: Any) -> None:
        """Each is a name or an address, and none is there twice."""
        if type(value) is not list or len(value) > self.maximum or len(set(map(str, value))) != len(value):
            raise self._no_such(value)
        for one in value:
            if type(one) is not str or not _is_name_or_address(one):
                raise BadValue(
                    _("{key}: {value} is neither a host name nor an IP address", key=self.name, value=repr(one)[:80])
                )

    def from_text(self, untrusted: str) -> Any:
        """Separated by commas or spaces."""
        return self.from_list(untrusted.replace(",", " ").split())

    def from_list(self, untrusted: list[str]) -> Any:
        """As they are."""
        self.check(untrusted)
        return untrusted

    def to_text(self, value: Any) -> str:
        """With commas."""
        return ",".join(value)


@dataclass(frozen=True)
class Memory(Key):
    """An amount of memory: a share of this computer's, or megabytes or gigabytes."""

    kind = N_("a share of this computer's memory, such as 50%, or an amount, such as 2G or 700M")

    def check(self, value: Any) -> None:
        """With less than a server needs to start, nobody could do anything."""
        if type(value) is not str or not _MEMORY.fullmatch(value):
            raise self._no_such(value)
        if not value.endswith("%") and memory_bytes(value, 0) < LEAST_MEMORY:
            raise BadValue(
                _("{key} must be at least {amount}: a server needs that to start", key=self.name, amount="256M")
            )

    def from_text(self, untrusted: str) -> Any:
        """Small letters and a space before the unit will do as well."""
        value = untrusted.upper().replace(" ", "")
        self.check(value)
        return value


def memory_bytes(amount: str, total: int) -> int:
    """How many bytes `amount`, a checked value of Memory, is on a computer with `total` bytes of memory."""
    number, unit = int(amount[:-1]), amount[-1]
    return total * number // 100 if unit == "%" else number * {"M": 2**20, "G": 2**30}[unit]


@dataclass(frozen=True)
class MemberLimits(Key):
    """A list of limits that hold for single members: NAME.WHAT=VALUE, with WHAT one of `whats`."""

    #: What can be limited, and the key that describes its values.
    whats: Mapping[str, Key] = field(default_factory=dict)
    maximum: int = 300
    kind = N_("a list such as [anna.memory=4G, ben.cpu=50, ben.processes=300]")

    def check(self, value: Any) -> None:
        """Each is a limit, and none is there twice."""
        if type(value) is not list or len(value) > self.maximum or not all(type(one) is str for one in value):
            raise self._no_such(value)
        if len({one.partition("=")[0] for one in value}) != len(value):
            raise BadValue(_("{key}: one limit is set twice", key=self.name))
        for one in value:
            self.parsed(one)

    def parsed(self, text: str) -> tuple[str, str, Any]:
        """Name, what, and the value as the key of `what` takes it. Raises BadValue."""
        found = _MEMBER_LIMIT.fullmatch(text)
        if not found or found["what"] not in self.whats:
            raise BadValue(
                _("{key}: {value} is not a limit", key=self.name, value=repr(text)[:80]),
                _("write {example}", example="anna.memory=4G, anna.cpu=50, anna.processes=300"),
            )
        key = dataclasses.replace(self.whats[found["what"]], name=f"{self.name}: {found['name']}.{found['what']}")
        return found["name"], found["what"], key.from_text(found["value"])

    def from_text(self, untrusted: str) -> Any:
        """Separated by commas or spaces."""
        return self.from_list(untrusted.replace(",", " ").split())

    def from_list(self, untrusted: list[str]) -> Any:
        """As they are."""
        self.check(untrusted)
        return untrusted

    def to_text(self, value: Any) -> str:
        """With commas."""
        return ",".join(value)


def _is_name_or_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # A name of digits only would be an address that somebody mistyped.
        return bool(_HOST_NAME.fullmatch(text)) and not text.replace(".", "").isdigit()
    return "%" not in text
