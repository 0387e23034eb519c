"""Runs inside JupyterHub's process, as `jupyterhub`: the passes that the proxy checks before it leads to a server.

A pass says who may look at whose server, in one browser and until the next login there. Nothing here knows of requests;
the other half is data/usr/share/jupyterhub4family/proxy/gate.js (tests/unit/gate-vectors.json holds both together).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from typing import Optional
from urllib.parse import quote, unquote

#: Path of this cookie is the server's own.
PASS_COOKIE = "jupyterhub4family-gate"  # noqa: S105 (a name)
#: Seconds, as JupyterHub's login.
LIFETIME = 14 * 86400
VERSION = 1

#: The first three parts of the path of a server: anybody's name, and perhaps the name of a server. What may stand in
#: a path is what browsers send: no backslash, no fragment, nothing that is not printable.
_PATH = re.compile(r"/user/(?P<owner>[^/?]+)(?:/(?P<server>[^/?]*)(?P<rest>/[^?]*)?)?(?P<query>\?.*)?")
_PRINTABLE = re.compile(r"[\x21\x22\x24-\x5b\x5d-\x7e]{1,8000}")
#: What would lead elsewhere once a browser or a proxy has tidied it up: dots, slashes, controls, however written.
_TRICK = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)|%2f|%5c|%[01][0-9a-f]|%7f", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """Where somebody wanted to go: an address below a member's server."""

    owner: str
    #: The part behind the owner's name, which may be that of a server.
    server: str
    #: All of it, tidied up.
    url: str


@dataclass(frozen=True)
class Pass:
    """Who may look at whose server."""

    viewer: str
    viewer_uid: int
    owner: str
    owner_uid: int
    #: None: the owner's own, good for all of their servers.
    server: Optional[str]
    #: Seconds since 1970.
    issued: int

    @property
    def path(self) -> str:
        """Below which addresses it is good, as JupyterHub writes them."""
        return server_path(self.owner, self.server or "")


def server_path(owner: str, server: str) -> str:
    """The path of a server, as JupyterHub writes it; of the default server if `server` is empty."""
    return "/".join(["/user", *(quote(name, safe="@~") for name in (owner, server) if name), ""])


def parse_address(untrusted_next: str) -> Optional[Address]:
    """The address below a server that `untrusted_next` is; None if it is anything else, or written strangely."""
    found = _PATH.fullmatch(untrusted_next)
    if found is None or not _PRINTABLE.fullmatch(untrusted_next):
        return None
    path = untrusted_next.partition("?")[0]
    if _TRICK.search(path):
        return None
    owner, server = (_name(found[group] or "") for group in ("owner", "server"))
    if not owner or server is None:
        return None
    # With the names as JupyterHub writes them: a cookie's path is compared letter by letter.
    tidy = server_path(owner, "") + quote(server, safe="@~") + (found["rest"] or "")
    return Address(owner, server, tidy + (found["query"] or ""))


def _name(untrusted_part: str) -> Optional[str]:
    """What a part of a path says; None if that is no text."""
    try:
        name = unquote(untrusted_part, errors="strict")
    except UnicodeDecodeError:
        return None
    return name if not re.search(r"%(?![0-9A-Fa-f]{2})", untrusted_part) else None


def browser_cookie(is_secure: bool) -> str:
    """The name of the cookie that tells one browser, and one login in it, from others."""
    return ("__Host-" if is_secure else "") + "jupyterhub4family-browser"


def new_browser(name: str, key: str) -> str:
    """A value of that cookie, for the browser in which the member `name` has just logged in."""
    word = secrets.token_hex(16)
    return f"{word}.{_signature(word, name, key)}"


def is_browser_of(value: str, name: str, key: str) -> bool:
    """Whether `name` was the last to log in where this cookie comes from."""
    word, _dot, given = value.partition(".")
    return hmac.compare_digest(given.encode(), _signature(word, name, key).encode())


def sign(given: Pass, browser: str, key: str) -> str:
    """The value of a cookie that holds this pass, for the browser with that cookie."""
    fields = [VERSION, given.viewer, given.viewer_uid, given.owner, given.owner_uid, given.server, given.issued]
    text = _base64(json.dumps(fields, separators=(",", ":")).encode())
    return f"{text}.{_signature(text, browser, key)}"


def _signature(text: str, more: str, key: str) -> str:
    return _base64(hmac.new(key.encode(), f"{text}.{more}".encode(), hashlib.sha256).digest())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
