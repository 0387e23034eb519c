"""Runs inside JupyterHub's process, as `jupyterhub`: which browser a member has logged in with before.

Such a browser gets a cookie that proves it, and has a count of wrong passwords of its own (OWASP: device cookies), so
that nobody else's tries can keep the member from logging in there. It opens nothing: whoever steals one can try a few
passwords more (docs/adr/0024-whose-tries-count.md), and have a server prepared that waits for the member (ADR 36).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from typing import Any, Optional

from jupyterhub import orm
from jupyterhub.handlers.login import LoginHandler

from jupyterhub4family.hub import waiting_servers

#: With HTTPS no page can set a cookie with the prefix `__Host-` for some paths only, in front of ours (RFC 6265bis).
#: The proxy keeps members' servers from getting this cookie, and from setting it (proxy/device_cookie.js).
NAME, SECURE_PREFIX = "jupyterhub4family-device", "__Host-"
#: As long as browsers keep a cookie.
DAYS = 400
#: So many accounts can have logged in with one browser; then the one that did so first is forgotten.
MAXIMUM_ACCOUNTS = 8
#: So many cookies of this name are looked at: scripts of other pages can set some with other paths beside ours.
MAXIMUM_COOKIES = 8
#: A device of one account, and its tag. The device is random; the tag shows to which account it belongs.
_ENTRY = re.compile(r"([0-9a-f]{32})([0-9a-f]{32})")


class FamilyLoginHandler(LoginHandler):  # type: ignore[misc]  # jupyterhub has no types
    """JupyterHub's login page; whoever has logged in on it is known there from then on."""

    async def get(self) -> None:
        """Show the page; meanwhile a server is prepared for who logged in here last: a password takes seconds."""
        if not self.current_user and (row := last_account(self)) is not None:
            waiting_servers.keeper.want(self.users[row])
        await super().get()

    async def login_user(self, data: Any = None) -> Any:
        """Log in, and give the browser its cookie."""
        user = await super().login_user(data)
        if user:
            remember(self, user)
        return user


def known_device(handler: Any, name: str) -> str:
    """The device that this browser is of the account `name`; "" if nobody has logged in so with it.

    Never of an account that is no member's, as the hub forgets those.
    """
    entries = list(_entries(handler))
    # A name that no account can have is not looked for: the database takes no halves of characters.
    row = orm.User.find(handler.db, name) if entries and name.isprintable() else None
    if row is None:
        return ""
    return next((device for device, tag in entries if hmac.compare_digest(tag, _tag(row, device))), "")


def last_account(handler: Any) -> Optional[orm.User]:
    """Who logged in last with this browser; None if nobody has, or not as far as the hub knows."""
    entries = list(_entries(handler))
    if not entries:
        return None
    device, tag = entries[-1]
    return next((row for row in handler.db.query(orm.User) if hmac.compare_digest(tag, _tag(row, device))), None)


def remember(handler: Any, user: Any) -> None:
    """Give the browser a cookie that says that `user` has logged in with it; other accounts that it names stay in it.

    The device is another one at each login, so that copies of older cookies are of no use against it.
    """
    others = [(device, tag) for device, tag in _entries(handler) if not hmac.compare_digest(tag, _tag(user, device))]
    device = secrets.token_hex(16)
    entries = [*others[-MAXIMUM_ACCOUNTS + 1 :], (device, _tag(user, device))]
    is_secure = _is_secure(handler)
    handler.set_secure_cookie(
        _name(handler),
        "".join(device + tag for device, tag in entries),
        expires_days=DAYS,
        path="/" if is_secure else handler.hub.base_url,
        httponly=True,
        secure=is_secure,
        samesite="Lax",
    )


def _tag(user: Any, device: str) -> str:
    """Shows that a device is this user's. The hub makes a new `cookie_id` for who is removed and comes back."""
    return hmac.new(user.cookie_id.encode(), f"{NAME} {device}".encode(), hashlib.sha256).hexdigest()[:32]


def _is_secure(handler: Any) -> bool:
    """Whether cookies travel over HTTPS only (hub/configuration.py)."""
    return bool(handler.settings.get("cookie_options", {}).get("secure"))


def _name(handler: Any) -> str:
    return f"{SECURE_PREFIX if _is_secure(handler) else ''}{NAME}"


def _entries(handler: Any) -> Iterator[tuple[str, str]]:
    """What all cookies of this name say that we have signed, each device once. The others are passed over."""
    seen = set()
    for untrusted in _untrusted_cookies(handler.request.headers.get("Cookie", ""), _name(handler)):
        # Signed with the hub's own secret (state/cookie_secret); the name is signed as well.
        signed = handler.get_secure_cookie(_name(handler), untrusted, max_age_days=DAYS) or b""
        for device, tag in _ENTRY.findall(signed.decode("ascii", "replace")):
            if device not in seen:
                seen.add(device)
                yield device, tag


def _untrusted_cookies(header: str, name: str) -> list[str]:
    """The values of all cookies called so. Python's own parser keeps the last one only."""
    pairs = (one.strip().partition("=") for one in header.split(";"))
    return [value.strip('"') for found, _equals, value in pairs if found == name][:MAXIMUM_COOKIES]
