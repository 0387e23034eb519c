"""Runs as the caller: takes out of a text what nobody else may read: secrets, and who the members are.

It knows no secret, so it goes by what secrets look like: too much is taken out rather than too little.
"""

from __future__ import annotations

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
    r"(?i)([\w.-]*(?:passw(?:or)?d|passwor[dt]|passphrase|kennwort|secret|token|credential|api[_-]?key|private[_-]?key|_xsrf)"
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
_OWN_WORDS = re.compile(r"(?m)^(\s*['\"]?(?:family_name|login_help)['\"]?\s*:\s*).*(?:\n[ \t]+.*)*")

#: Addresses that hold a member's name, and after it what they work on.
_SLASH = "(?:/|%2[Ff])"
_USER_PATH = re.compile(
    rf"(?P<before>{_SLASH}(?:user|user-redirect|users|spawn|spawn-pending|home){_SLASH})(?P<name>[^/\s'\"?&#,;:)\]%]+)"
)
_WORK = re.compile(rf"({_SLASH}(?:user|home){_SLASH}member\d+{_SLASH})[^\s'\"&)\]]+")


def _unless_path(found: re.Match[str]) -> str:
    """What replaces a run of base64's characters: paths have no such mixture of them."""
    run = found[0]
    mixed = any(map(str.isupper, run)) and any(map(str.islower, run)) and any(map(str.isdigit, run))
    return REMOVED if mixed else run


class Redaction:
    """Takes the same things out of every text; a member has the same number in all of them."""

    def __init__(self, members: Iterable[tuple[str, str]], host: str = "") -> None:
        """`members`: account name and full name of each; `host`: this computer's name."""
        self._numbers: dict[str, str] = {}
        self._words: dict[str, str] = {}
        for name, full_name in members:
            self._words[name] = self._number(name)
            for word in (full_name, *full_name.split()):
                if len(word) > 2:
                    self._words.setdefault(word, self._number(name))
        if len(host) > 2 and host != "localhost":
            self._words.setdefault(host, "this-computer")

    def _number(self, name: str) -> str:
        return self._numbers.setdefault(name, f"member{len(self._numbers) + 1}")

    def clean(self, text: str) -> str:
        """`text` without secrets, and with member1, member2 … in place of names."""
        return self._without_names(self._without_secrets(text))

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
        text = _USER_PATH.sub(self._in_path, text)
        for word in sorted(self._words, key=len, reverse=True):
            text = re.sub(rf"(?i)(?:(?<![a-z0-9])|(?<=%2f)){re.escape(word)}(?![a-z0-9])", self._words[word], text)
        return _WORK.sub(rf"\g<1>{REMOVED}", text)

    def _in_path(self, found: re.Match[str]) -> str:
        name = found["name"]
        # Somebody may have been a member once, or have tried.
        return found["before"] + (name if name in _PLACES else self._number(name))


#: What stands at a name's place in addresses, and is none.
_PLACES = frozenset(("jupyterhub4family", "{name}", "NAME"))
