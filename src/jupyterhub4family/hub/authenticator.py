"""Runs inside JupyterHub's process, as `jupyterhub`: who may log in, asked of the door `authenticate`.

The hub never sees a password hash and is in no group that could read one.
"""

from __future__ import annotations

import ipaddress
import pwd
from typing import Any, Optional

from jupyterhub.auth import LocalAuthenticator
from jupyterhub.handlers.base import BaseHandler
from tornado import web

from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import accounts
from jupyterhub4family.hub import calling
from jupyterhub4family.hub.calling import DoorError
from jupyterhub4family.hub.throttle import Throttle

#: Unix groups that the hub knows as groups of its own.
_MIRRORED_GROUPS = frozenset({accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP})


#: What somebody who knew the password is told about the account.
_EXPLAINED = {
    "account-expired": N_("Your account on this machine has expired. Ask your administrator."),
    "password-expired": N_("Your password has expired. Log in at the machine itself (or over ssh) and set a new one."),
}
_TOO_MANY = N_("Too many wrong passwords have come from your device. Wait a quarter of an hour, then try again.")
#: Tells the login page that whoever looks at it was a member until a moment ago.
REMOVED_COOKIE = "jupyterhub4family-removed"
#: Days; as short as they come in cookies of tornado. The page is for the next seconds.
_REMOVED_DAYS = 1 / 24 / 60

throttle = Throttle()


class LoginExplained(web.HTTPError):
    """A login that is refused with the reason; JupyterHub shows `jupyterhub_message` on the login page."""

    def __init__(self, message: str) -> None:
        super().__init__(403, "%s", message)
        self.jupyterhub_message = message


def plain_address(untrusted_address: Optional[str]) -> str:
    """An address as people know it: IPv4 as IPv4, also when it came through an IPv6 socket. Empty if it is none."""
    try:
        address = ipaddress.ip_address(untrusted_address or "")
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


class DoorAuthenticator(LocalAuthenticator):  # type: ignore[misc]  # jupyterhub has no types
    """Debian passwords through the door; membership from the live group database."""

    async def authenticate(self, handler: Any, data: dict[str, str]) -> Optional[dict[str, Any]]:
        """Return name and groups of who gave the right password, None for everybody else."""
        # Telephones write the first letter large and add a space: Debian's names have neither.
        name = self.normalize_username(data["username"].strip())
        address = plain_address(handler.request.remote_ip)
        async with throttle.turn(address) as may_try:
            if not may_try:
                self.log.warning("Login of %r from %s refused: too many wrong passwords from there", name[:32], address)
                raise LoginExplained(_(_TOO_MANY))
            login = doors.Login(name, data["password"], address)
            try:
                verdict = await calling.open_door(doors.CHECK_PASSWORD, login)
            except DoorError as error:
                self.log.error("The password of %r could not be checked: %s", name[:32], error.message)
                return None
            if verdict.reason == "refused":
                throttle.wrong(address)
        if not verdict.allowed:
            self.log.warning("Login of %r from %s refused: %s", name[:32], address, verdict.reason)
            if verdict.reason in _EXPLAINED:
                raise LoginExplained(_(_EXPLAINED[verdict.reason]))
            return None
        return self._model(verdict.name)

    async def refresh_user(self, user: Any, handler: Any = None, **_more: Any) -> Any:
        """Look again whether `user` is still a member, and in which groups."""
        if handler is not None and not hasattr(handler, "_token_authenticated"):
            # JupyterHub 6.1.1 reads this when we say no, and sets it only for requests with a token
            # (handlers/base.py: refresh_auth): the refusal would become a traceback.
            handler._token_authenticated = False
        model = self._model(user.name)
        if model is None and isinstance(handler, BaseHandler):
            handler.set_cookie(
                REMOVED_COOKIE, "1", expires_days=_REMOVED_DAYS, path=handler.hub.base_url, httponly=True
            )
        return model or False

    async def add_user(self, user: Any) -> None:
        """Nothing to do: accounts are Debian's, and who is no member (any more) is refused at every login."""

    def check_allowed(self, username: str, authentication: Optional[dict[str, Any]] = None) -> bool:
        """Whether `username` is a member now."""
        return self._model(username) is not None

    def _model(self, name: str) -> Optional[dict[str, Any]]:
        """What JupyterHub wants to know of a member; None if `name` is none (any more)."""
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            return None
        if not accounts.is_member(account):
            return None
        return {"name": name, "groups": sorted(accounts.group_names(account) & _MIRRORED_GROUPS)}
