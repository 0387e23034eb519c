"""Runs inside JupyterHub's process, as `jupyterhub`: the gate before members' servers, the hub's half of it.

The proxy shows nobody a member's server without a pass (gate_pass.py, docs/adr/0023-the-gate.md). Owners get theirs
when they log in; others come here, are told what it means, and get one if JupyterHub says that the server is shared
with them.
"""

from __future__ import annotations

import json
import pwd
import time
from datetime import datetime, timezone
from typing import Any, Optional

from jupyterhub import orm, scopes
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web
from tornado.httputil import url_concat

from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import accounts
from jupyterhub4family.hub import gate_pass
from jupyterhub4family.hub.gate_pass import Address, Pass
from jupyterhub4family.service.hub_state import tokens

#: Days, as tornado wants them.
_DAYS = gate_pass.LIFETIME / 86400


class Gate:
    """Gives passes in answers of the hub."""

    def __init__(self, key: str, is_secure: bool) -> None:
        self._key = key
        self._is_secure = is_secure

    def let_in(self, handler: Any, viewer: str, owner: str, server: Optional[str]) -> None:
        """Give this browser, in which `viewer` is logged in, a pass. Without accounts of these names it gets none."""
        try:
            uids = [pwd.getpwnam(name).pw_uid for name in (viewer, owner)]
        except KeyError:
            return
        given = Pass(viewer, uids[0], owner, uids[1], server, int(time.time()))
        value = gate_pass.sign(given, self._browser(handler, viewer), self._key)
        self._set(handler, gate_pass.PASS_COOKIE, value, given.path)

    def logged_in(self, handler: Any, name: str) -> None:
        """Somebody has just logged in, or come to the login page once more: their own servers are open to them."""
        last = handler.get_cookie(gate_pass.browser_cookie(self._is_secure), "")
        if not gate_pass.is_browser_of(last, name, self._key):
            self._forget_pages(handler)
        if handler.request.method == "POST":
            handler.family_browser = gate_pass.new_browser(name, self._key)
            self._set_browser(handler)
        self.let_in(handler, name, name, None)

    def logged_out(self, handler: Any) -> None:
        """No pass in this browser is good any more."""
        handler.clear_cookie(
            gate_pass.browser_cookie(self._is_secure), path="/", secure=self._is_secure, httponly=True, samesite="Lax"
        )
        self._forget_pages(handler)

    def _browser(self, handler: Any, name: str) -> str:
        """The value of the browser's own cookie; a new one, if it has none of this member's."""
        known = getattr(handler, "family_browser", "") or handler.get_cookie(
            gate_pass.browser_cookie(self._is_secure), ""
        )
        if not gate_pass.is_browser_of(known, name, self._key):
            handler.family_browser = known = gate_pass.new_browser(name, self._key)
            self._set_browser(handler)
        return str(known)

    def _set_browser(self, handler: Any) -> None:
        self._set(handler, gate_pass.browser_cookie(self._is_secure), handler.family_browser, "/")

    def _set(self, handler: Any, name: str, value: str, path: str) -> None:
        # Not by JupyterHub's _set_cookie: an expert's options for its cookies are not for these.
        handler.set_cookie(
            name, value, path=path, expires_days=_DAYS, httponly=True, secure=self._is_secure, samesite="Lax"
        )

    @staticmethod
    def _forget_pages(handler: Any) -> None:
        """Have the browser forget what pages of whoever used it before have left, service workers above all."""
        handler.set_header("Clear-Site-Data", '"storage"')


def configure_gate(settings: Settings) -> list[Any]:
    """Have logins give passes, and return the handlers of the gate."""
    gate = Gate(tokens.ensure_token(tokens.GATE_KEY).reveal(), settings.https)
    _extend_logins(gate)
    return [(r"/gate", GateHandler, {"gate": gate}), (r"/api/gate", GateAPIHandler)]


def _extend_logins(gate: Gate) -> None:
    """JupyterHub has no hook for the cookies of a login, so two methods of its base handler are extended."""
    # The configuration is read more than once in one process: JupyterHub's own, not what we have made of them.
    set_cookies = getattr(BaseHandler.set_login_cookie, "theirs", BaseHandler.set_login_cookie)
    clear_cookies = getattr(BaseHandler.clear_login_cookie, "theirs", BaseHandler.clear_login_cookie)

    def set_login_cookie(handler: Any, user: Any) -> None:
        set_cookies(handler, user)
        gate.logged_in(handler, user.name)

    def clear_login_cookie(handler: Any, name: Optional[str] = None) -> None:
        clear_cookies(handler, name)
        gate.logged_out(handler)

    set_login_cookie.theirs = set_cookies  # type: ignore[attr-defined]
    clear_login_cookie.theirs = clear_cookies  # type: ignore[attr-defined]
    BaseHandler.set_login_cookie = set_login_cookie
    BaseHandler.clear_login_cookie = clear_login_cookie


class GateHandler(BaseHandler):  # type: ignore[misc]  # jupyterhub has no types
    """Where the proxy leads whoever opens a member's address without a pass."""

    def initialize(self, gate: Gate) -> None:
        """Take what the handlers are given."""
        super().initialize()
        self.gate = gate

    async def get(self) -> None:
        """Lead on, ask, or say whose server it is."""
        address = self._address()
        user = self.current_user
        self.set_header("Cache-Control", "no-store")
        if user is None:
            # The login gives a pass for one's own servers, so not back to here.
            self.redirect(url_concat(self.settings["login_url"], {"next": address.url}))
            return
        if user.name == address.owner:
            self.gate.let_in(self, user.name, user.name, None)
            self.redirect(address.url)
            return
        server = self._shared_server(address)
        if server is None:
            self.set_status(403)
            self.finish(await self.render_template("gate_closed.html", owner_name=address.owner))
            return
        names = {"owner_name": address.owner, "server_name": server, "next_url": address.url}
        self.finish(await self.render_template("gate_shared.html", **names))

    async def post(self) -> None:
        """Somebody has read what it means to look at another one's server, and goes on."""
        address = self._address()
        user = self.current_user
        server = self._shared_server(address) if user is not None else None
        if server is None:
            raise web.HTTPError(403, "this server is not shared")
        self.gate.let_in(self, user.name, address.owner, server)
        self.redirect(address.url)

    def _address(self) -> Address:
        address = gate_pass.parse_address(self.get_argument("next", "", strip=False))
        if address is None:
            raise web.HTTPError(404, "no address of a server")
        return address

    def _shared_server(self, address: Address) -> Optional[str]:
        """Which server the address leads to; None if this member may not look at it."""
        owner = self.find_user(address.owner)
        if owner is None:
            return None
        spawner = owner.spawners.get(address.server) if address.server else None
        server = address.server if spawner is not None and spawner.active else ""
        return server if self.has_scope(f"access:servers!server={owner.name}/{server}") else None


class GateAPIHandler(APIHandler):  # type: ignore[misc]
    """What the proxy asks the hub."""

    @needs_scope("proxy")  # type: ignore[untyped-decorator]
    def post(self) -> None:
        """Whether a member may (still) look at a server, or whether a session is the owner's own."""
        try:
            asked = json.loads(self.request.body)
            allowed = self._holds(**asked) if "session" in asked else self._may_look(**asked)
        except (TypeError, ValueError) as error:
            raise web.HTTPError(400, "no question") from error
        self.finish({"allowed": allowed})

    def _may_look(self, viewer: str, uid: int, owner: str, server: str) -> bool:
        try:
            account = pwd.getpwnam(viewer)
        except KeyError:
            return False
        row = orm.User.find(self.db, viewer)
        if row is None or account.pw_uid != uid or not accounts.is_member(account):
            return False
        have = scopes.parse_scopes(scopes.get_scopes_for(row))
        return bool(scopes.has_scope(f"access:servers!server={owner}/{server}", have, db=self.db))

    def _holds(self, session: str, owner: str) -> bool:
        row = orm.User.find(self.db, owner)
        if row is None:
            return False
        now = datetime.now(timezone.utc).replace(tzinfo=None)
        held = self.db.query(orm.APIToken).filter_by(session_id=str(session), user_id=row.id)
        return any(token.expires_at is None or token.expires_at > now for token in held)
