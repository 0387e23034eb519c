"""Runs as the caller: takes out of a text what nobody else may read: secrets, who is who, and whose devices are where.

It knows no secret, so it goes by what secrets look like: too much is taken out rather than too little. People and
devices get numbers, the same ones in all texts, so that it can still be seen who did what from where.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

REMOVED = "(removed)"

_PEM = re.compile(r"-----BEGIN [^-\n]{1,60}-----.*?(?:-----END [^-\n]{1,60}-----|\Z)", re.DOTALL)
#: What crypt(5) makes of a password.
_CRYPT = re.compile(r"\$[0-9a-z]{1,3}\$[./A-Za-z0-9$=,_-]{8,}")
_HEADER = re.compile(
    r"(?i)\b(authorization|proxy-authorization|cookie|set-cookie|x-xsrftoken)(['\"]?\s*[:=]\s*)[^\r\n]+"
)
#: A key that says what it holds, with its value: password: x, "api_token": "x", ?token=x, --secret=x,
#: environ['SECRET'] = 'x', setdefault('SECRET', 'x').
_NAMED = re.compile(
    r"(?i)((?<![\w.-])[\w.-]*(?:passw(?:or)?d|passwor[dt]|passphrase|kennwort|secret|token|credential|api[_-]?key|private[_-]?key|_xsrf)"
    r"[\w.-]*(?:['\"]?\]?\s*[:=]|['\"]\s*,)\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*'|\[[^\]]*\]|[^\s,;&})]+)"
)
#: Authorization words in the middle of a line: token abc, Bearer abc.
_BEARER = re.compile(r"(?i)\b(bearer|token|basic)\s+([A-Za-z0-9._~+/=-]{8,})")
_IN_URL = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
#: Long runs of letters and digits are keys, tokens, cookies or digests; nobody misses the latter.
_LONG = re.compile(r"(?<![\w/.+-])(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9+_=-]{24,}")
_BASE64 = re.compile(r"(?<![\w/.+-])[A-Za-z0-9+/]{40,}={0,2}")
_HEX = re.compile(r"(?i)[0-9a-f]{20,}")
#: Settings whose value is the family's own words.
_OWN_WORDS = re.compile(r"(?m)^([ \t]*['\"]?(?:family_name|login_help)['\"]?\s*:\s*).*(?:\n[ \t]+.*)*")

#: Addresses that hold a member's name, and after it what they work on.
_SLASH = "(?:/|%2[Ff])"
_USER_PATH = re.compile(
    rf"(?P<before>{_SLASH}(?:user|user-redirect|users|spawn|spawn-pending|home){_SLASH})(?P<name>[^/\s'\"?&#,;:)\]%]+)"
)
_WORK = re.compile(rf"({_SLASH}(?:user|home){_SLASH}member\d+{_SLASH})[^\s'\"&)\]]+")


#: Where logs name who has tried to log in: ours, JupyterHub's, PAM's and sudo's. A name that is nobody's may be a
#: password that was typed into the wrong field.
_TRIED = re.compile(
    r"""(?P<before>\b(?:Login\ of|password\ of|login\ for|refused|username|user|account)\ )
        (?P<name>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""",
    re.VERBOSE | re.IGNORECASE,
)
_LOGGED = re.compile(
    r"(?P<before>\bUser logged (?:in|out): |\bfor user |\b(?:log|r)?(?:user|USER|name)=)(?P<name>[^\s();,]+)"
)
#: After each request in the hub's log.
_ASKED = re.compile(r"(?P<before>\()(?P<name>[^\s()@]+)(?=@[0-9A-Fa-f:.]+\))")

#: What may be an address; `ipaddress` says whether it is one. Not: versions of packages, times, parts of words.
_IPV4 = re.compile(r"(?<![\w.+~-])(?:::ffff:)?(?:\d{1,3}\.){3}\d{1,3}(?![\w+~-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![\w:])(?:%[\w.-]+)?")
_HARDWARE = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:])")
#: Of IPv6: the world's, homes' own, one wire's.
_IN_USE = tuple(map(ipaddress.IPv6Network, ("2000::/3", "fc00::/7", "fe80::/10", "ff00::/8")))


def _unless_path(found: re.Match[str]) -> str:
    """What replaces a run of base64's characters: paths have no such mixture of them."""
    run = found[0]
    mixed = any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
    return REMOVED if mixed else run


class Redaction:
    """Takes the same things out of every text; a member has the same number in all of them."""

    def __init__(
        self,
        members: Iterable[tuple[str, str]],
        host: str = "",
        others: Iterable[tuple[str, str]] = (),
        addresses: Iterable[str] = (),
    ) -> None:
        """`members` and `others`: account name and full name of each; `host`, `addresses`: this computer's own."""
        self._numbers: dict[str, str] = {}
        self._persons: dict[str, str] = {}
        self._devices = dict.fromkeys(addresses, "this-computer")
        self._words: dict[str, str] = {}
        for people, number in ((members, self._number), (others, self._number_of_other)):
            for name, full_name in people:
                for word in (name, full_name, *full_name.split()):
                    if word == name or len(word) > 2:
                        self._words.setdefault(word, number(name))
        self._words = {word: number for word, number in self._words.items() if word.lower() not in _TECHNICAL}
        if len(host) > 2 and host != "localhost":
            self._words.setdefault(host, "this-computer")

    def _number(self, name: str) -> str:
        return self._numbers.setdefault(name, f"member{len(self._numbers) + 1}")

    def _number_of_other(self, name: str) -> str:
        """Somebody who is no member, or nobody."""
        if name in self._numbers:
            return self._numbers[name]
        return self._persons.setdefault(name, f"person{len(self._persons) + 1}")

    def clean(self, text: str) -> str:
        """`text` without secrets, with member1, person1, device1 … in place of names and addresses."""
        return self._without_addresses(self._without_names(self._without_secrets(text)))

    def _without_secrets(self, text: str) -> str:
        text = _PEM.sub(REMOVED, text)
        text = _OWN_WORDS.sub(rf"\g<1>{REMOVED}", text)
        text = _CRYPT.sub(REMOVED, text)
        text = _HEADER.sub(rf"\g<1>\g<2>{REMOVED}", text)
        text = _IN_URL.sub(REMOVED, text)
        text = _NAMED.sub(rf"\g<1>{REMOVED}", text)
        text = _BEARER.sub(rf"\g<1> {REMOVED}", text)
        text = _HEX.sub(REMOVED, text)
        text = _BASE64.sub(_unless_path, text)
        return _LONG.sub(REMOVED, text)

    def _without_names(self, text: str) -> str:
        for pattern in (_TRIED, _LOGGED, _ASKED):
            text = pattern.sub(self._in_log, text)
        text = _USER_PATH.sub(self._in_path, text)
        for word in sorted(self._words, key=len, reverse=True):
            text = re.sub(rf"(?i)(?:(?<![a-z0-9])|(?<=%2f)){re.escape(word)}(?![a-z0-9])", self._words[word], text)
        return _WORK.sub(rf"\g<1>{REMOVED}", text)

    def _in_log(self, found: re.Match[str]) -> str:
        name = found["name"].strip("'\"")
        kept = not name or name in _TECHNICAL or re.fullmatch(r"(?:member|person)\d+", name)
        return found[0] if kept else found["before"] + self._number_of_other(name)

    def _without_addresses(self, text: str) -> str:
        text = _HARDWARE.sub("(hardware address)", text)
        return _IPV6.sub(self._address, _IPV4.sub(self._address, text))

    def _address(self, found: re.Match[str]) -> str:
        """Its number; where it is stays, for that is what helps: at home, or out in the world."""
        try:
            address = ipaddress.ip_address(found[0].partition("%")[0])
        except ValueError:
            return found[0]
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if address.is_loopback or address.is_unspecified:
            return found[0]
        if isinstance(address, ipaddress.IPv6Address) and not any(address in network for network in _IN_USE):
            return found[0]  # abc::def is a name in many programs
        kind = "device" if address.is_private or address.is_link_local else "outside"
        return self._devices.setdefault(str(address), f"{kind}{len(self._devices) + 1}")

    def _in_path(self, found: re.Match[str]) -> str:
        name = found["name"]
        # Somebody may have been a member once, or have tried.
        return found["before"] + (name if name in _PLACES else self._number(name))


#: Names of accounts that tell nothing of anybody, and stand everywhere for something else.
_TECHNICAL = frozenset(
    (
        "root",
        "jupyterhub",
        "admin",
        "user",
        "debian",
        "pi",
        "hub",
        "proxy",
        "python",
        "server",
        "system",
        "test",
        "nobody",
    )
)
#: What stands at a name's place in addresses, and is none.
_PLACES = frozenset(("jupyterhub4family", "{name}", "NAME"))
