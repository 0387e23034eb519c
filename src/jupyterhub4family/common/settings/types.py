"""Any identity: what one settings key is: kind, default, range, meaning. Everything about a key follows from this.

Validation, the command `config`, the reference page, the sample file, the manual page and shell completion all read
these descriptions; the keys themselves stand in common/settings/model.py. A key parses what somebody wrote into its
final type, once: whoever uses a setting has a number, an amount of memory or a member's limit, and no text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.i18n.messages import N_, Message, _

if TYPE_CHECKING:
    from jupyterhub4family.common.system.network import Address

#: What has to be restarted before a changed value counts.
HUB = "hub"
HUB_AND_PROXY = "all"
NOTHING = "nothing"

_PLAIN_NUMBER = patterns.compiled(r"-?(0|[1-9][0-9]{0,17})")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = patterns.compiled(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*", re.IGNORECASE)
#: A share of at least 5 %, or whole megabytes or gigabytes.
_MEMORY = patterns.compiled(r"([5-9]|[1-9][0-9]|100)(%)|([1-9][0-9]{0,6})([MG])")
_MEMBER_LIMIT = patterns.compiled(r"(?P<name>[a-z][-a-z0-9_]{0,31})\.(?P<what>[a-z]+)=(?P<value>\S{1,20})")
#: Bytes. A server needs about 110 MB, and a kernel half of that.
LEAST_MEMORY = 256 * 2**20
#: What YAML 1.1 takes for true and false, so that nobody has to know which of them it is.
_SWITCH_VALUES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Value = TypeVar("Value")


class BadValue(ValueError):
    """A value that a key does not take; `sentence` says why, beginning with the key."""

    def __init__(self, message: Message, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@records.dataclass(frozen=True)
class Key(Generic[Value]):
    """One key of the settings file. `meaning` is one English sentence, marked for translation."""

    default: Value
    meaning: str
    restarts: str = HUB
    #: What an expert or somebody in trouble may want to know, beyond the one sentence.
    more: str = ""
    since: str = "0.1"
    name: str = ""

    #: How the reference calls values of this kind.
    kind = N_("a value")

    def from_plain(self, untrusted: Any) -> Value:
        """The value that JSON holds as `untrusted`, which has to be of the right type. Raises BadValue."""
        raise NotImplementedError

    def from_text(self, untrusted: str) -> Value:
        """The value that somebody means who wrote this text. Raises BadValue."""
        return self.from_plain(untrusted)

    def from_list(self, untrusted: list[str]) -> Value:
        """The value that somebody means who wrote a list of these texts. Raises BadValue."""
        raise self._no_such(untrusted)

    def to_plain(self, value: Value) -> Any:
        """What stands for `value` in JSON and in the file; `from_plain` understands it."""
        return value

    def to_text(self, value: Value) -> str:
        """How `value` is written on a command line; `from_text` understands it."""
        return str(value)

    @property
    def plain_default(self) -> Any:
        """The default, as JSON and the file hold it."""
        return self.to_plain(self.default)

    @property
    def allowed(self) -> str:
        """What is allowed, in the process's language; for the reference and for errors."""
        return _(self.kind)

    def alternatives(self) -> tuple[str, ...]:
        """All values there are, where they are few; for shell completion."""
        return ()

    def _no_such(self, value: Any, hint: str = "") -> BadValue:
        shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:80] + " …"
        return BadValue(_("{key} must be {what}, not {value}", key=self.name, what=self.allowed, value=shown), hint)


@records.dataclass(frozen=True)
class Number(Key[int]):
    """A whole number between two borders, both allowed."""

    minimum: int = 0
    maximum: int = 0

    @property
    def allowed(self) -> str:
        """Both borders, too."""
        return _("a whole number from {minimum} to {maximum}", minimum=self.minimum, maximum=self.maximum)

    def from_plain(self, untrusted: Any) -> int:
        """Python thinks that True is a whole number; nobody else does."""
        if type(untrusted) is not int or not self.minimum <= untrusted <= self.maximum:
            raise self._no_such(untrusted)
        return untrusted

    def from_text(self, untrusted: str) -> int:
        """Plain digits only: YAML would read 010 as eight and 1:30 as ninety."""
        if not _PLAIN_NUMBER.fullmatch(untrusted):
            raise self._no_such(untrusted, _("write plain digits, such as {example}", example=self.default))
        return self.from_plain(int(untrusted))


@records.dataclass(frozen=True)
class Switch(Key[bool]):
    """True or false."""

    kind = N_("true or false")

    def from_plain(self, untrusted: Any) -> bool:
        """Only the real ones."""
        if type(untrusted) is not bool:
            raise self._no_such(untrusted)
        return untrusted

    def from_text(self, untrusted: str) -> bool:
        """Also yes, no, on, off, in any case."""
        try:
            return _SWITCH_VALUES[untrusted.lower()]
        except KeyError:
            raise self._no_such(untrusted) from None

    def to_text(self, value: bool) -> str:
        """As YAML writes it."""
        return "true" if value else "false"

    def alternatives(self) -> tuple[str, ...]:
        """Both."""
        return ("true", "false")


@records.dataclass(frozen=True)
class Choice(Key[str]):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """All of them."""
        return _("one of {choices}", choices=", ".join(self.choices))

    def from_plain(self, untrusted: Any) -> str:
        """Exactly as it is written in the list; nothing is guessed."""
        if type(untrusted) is not str or untrusted not in self.choices:
            raise self._no_such(untrusted)
        return untrusted

    def alternatives(self) -> tuple[str, ...]:
        """The choices."""
        return self.choices


@records.dataclass(frozen=True)
class Text(Key[str]):
    """Text for people, at most `maximum` characters; with `lines` it may have several lines."""

    maximum: int = 80
    lines: bool = False

    @property
    def allowed(self) -> str:
        """Its length, too."""
        if self.lines:
            return _("text of at most {maximum} characters", maximum=self.maximum)
        return _("one line of at most {maximum} characters", maximum=self.maximum)

    def from_plain(self, untrusted: Any) -> str:
        """No control characters: it stands in pages and in terminals."""
        if type(untrusted) is not str or len(untrusted) > self.maximum:
            raise self._no_such(untrusted)
        if not (untrusted.replace("\n", "") if self.lines else untrusted).isprintable():
            raise self._no_such(untrusted)
        return untrusted

    def from_text(self, untrusted: str) -> str:
        """As it is, without the line break at its end that YAML's | leaves."""
        return self.from_plain(untrusted.rstrip("\n") if self.lines else untrusted)


@records.dataclass(frozen=True)
class Matching(Text):
    """One word of a form of its own, or nothing."""

    pattern: str = ""
    what: str = ""
    maximum: int = 200

    @property
    def allowed(self) -> str:
        """In words: few people read patterns."""
        return _(self.what)

    def from_plain(self, untrusted: Any) -> str:
        """It stands in files of other programs, so nothing else may be in it."""
        value = super().from_plain(untrusted)
        if value and not re.fullmatch(self.pattern, value):
            raise self._no_such(value)
        return value


@records.dataclass(frozen=True)
class Amount:
    """An amount of memory: a share of the computer's in percent, or megabytes or gigabytes."""

    number: int
    #: "%", "M" or "G".
    unit: str

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.number}{self.unit}"

    def in_bytes(self, total: int) -> int:
        """How many bytes that is on a computer with `total` bytes of memory."""
        return total * self.number // 100 if self.unit == "%" else self.number * {"M": 2**20, "G": 2**30}[self.unit]


@records.dataclass(frozen=True)
class Memory(Key[Amount]):
    """An amount of memory: a share of this computer's, or megabytes or gigabytes."""

    kind = N_("a share of this computer's memory, such as 50%, or an amount, such as 2G or 700M")

    def from_plain(self, untrusted: Any) -> Amount:
        """With less than a server needs to start, nobody could do anything."""
        found = _MEMORY.fullmatch(untrusted) if type(untrusted) is str else None
        if not found:
            raise self._no_such(untrusted)
        amount = Amount(int(found[1] or found[3]), found[2] or found[4])
        if amount.unit != "%" and amount.in_bytes(0) < LEAST_MEMORY:
            raise BadValue(
                _("{key} must be at least {amount}: a server needs that to start", key=self.name, amount="256M")
            )
        return amount

    def from_text(self, untrusted: str) -> Amount:
        """Small letters and a space before the unit will do as well."""
        return self.from_plain(untrusted.upper().replace(" ", ""))

    def to_plain(self, value: Amount) -> Any:
        """As people write it."""
        return str(value)


# -- lists -------------------------------------------------------------------------------------------


@records.dataclass(frozen=True)
class Item:
    """One of a list: the text, as somebody has written it, and, in classes of its own, what that means."""

    text: str

    @property
    def subject(self) -> str:
        """What only one of a list can be about."""
        return self.text


AnyItem = TypeVar("AnyItem", bound=Item)


@records.dataclass(frozen=True)
class ListOf(Key[tuple[AnyItem, ...]]):
    """A list of at most `maximum` texts, each of which says something."""

    maximum: int = 0

    def parsed(self, untrusted: str) -> AnyItem:
        """What one text says. Raises BadValue."""
        raise NotImplementedError

    def from_plain(self, untrusted: Any) -> tuple[AnyItem, ...]:
        """A real list of texts, each of which can be parsed, and no two about the same."""
        if type(untrusted) is not list or len(untrusted) > self.maximum:
            raise self._no_such(untrusted)
        if not all(type(one) is str for one in untrusted):
            raise self._no_such(untrusted)
        found = tuple(map(self.parsed, untrusted))
        if len({one.subject for one in found}) != len(found):
            raise self._twice(untrusted)
        return found

    def from_text(self, untrusted: str) -> tuple[AnyItem, ...]:
        """Separated by commas or spaces."""
        return self.from_plain(untrusted.replace(",", " ").split())

    def from_list(self, untrusted: list[str]) -> tuple[AnyItem, ...]:
        """As they are."""
        return self.from_plain(untrusted)

    def to_plain(self, value: tuple[AnyItem, ...]) -> Any:
        """The texts, as they were written."""
        return [one.text for one in value]

    def to_text(self, value: tuple[AnyItem, ...]) -> str:
        """With commas."""
        return ",".join(one.text for one in value)

    def _twice(self, untrusted: list[str]) -> BadValue:
        return self._no_such(untrusted)


@records.dataclass(frozen=True)
class NetworkName(Item):
    """A host name, or an IP address: then `address` is there."""

    address: Optional[Address] = None

    @property
    def host(self) -> str:
        """In lower case, as browsers and certificates have it."""
        return self.text.lower()


@records.dataclass(frozen=True)
class Names(ListOf[NetworkName]):
    """A list of host names and IP addresses."""

    maximum: int = 50
    kind = N_("a list of host names and IP addresses")

    def parsed(self, untrusted: str) -> NetworkName:
        """An address, or else a name; one of digits only would be an address that somebody mistyped."""
        import ipaddress

        try:
            address = ipaddress.ip_address(untrusted)
        except ValueError:
            if _HOST_NAME.fullmatch(untrusted) and not untrusted.replace(".", "").isdigit():
                return NetworkName(untrusted)
        else:
            if "%" not in untrusted:
                return NetworkName(untrusted, address)
        shown = repr(untrusted)[:80]
        raise BadValue(_("{key}: {value} is neither a host name nor an IP address", key=self.name, value=shown))


@records.dataclass(frozen=True)
class MemberLimit(Item):
    """One limit of one member: `what` is a field of ServerLimits, `value` of that field's type."""

    member: str
    what: str
    value: Any

    @property
    def subject(self) -> str:
        """Each limit of a member is set once."""
        return f"{self.member}.{self.what}"


@records.dataclass(frozen=True)
class ServerLimits:
    """What one member's servers may use: memory, a weight for the processor, processes and threads."""

    memory: Amount
    cpu: int
    processes: int


@records.dataclass(frozen=True)
class MemberLimits(ListOf[MemberLimit]):
    """A list of limits that hold for single members: NAME.WHAT=VALUE, with WHAT one of `whats`."""

    #: What can be limited, the fields of ServerLimits, and the key that describes its values.
    whats: Mapping[str, Key[Any]] = records.field(default_factory=dict)
    maximum: int = 300
    kind = N_("a list such as [anna.memory=4G, ben.cpu=50, ben.processes=300]")

    def parsed(self, untrusted: str) -> MemberLimit:
        """Name, what, and the value as the key of `what` takes it."""
        found = _MEMBER_LIMIT.fullmatch(untrusted)
        if not found or found["what"] not in self.whats:
            raise BadValue(
                _("{key}: {value} is not a limit", key=self.name, value=repr(untrusted)[:80]),
                _("write {example}", example="anna.memory=4G, anna.cpu=50, anna.processes=300"),
            )
        key = records.replace(self.whats[found["what"]], name=f"{self.name}: {found['name']}.{found['what']}")
        return MemberLimit(untrusted, found["name"], found["what"], key.from_text(found["value"]))

    def _twice(self, _untrusted: list[str]) -> BadValue:
        return BadValue(_("{key}: one limit is set twice", key=self.name))
