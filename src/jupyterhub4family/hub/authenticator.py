"""Runs inside JupyterHub's process, as `jupyterhub`: who may log in, asked of the door `authenticate`.

The hub never sees a password hash and is in no group that could read one.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
from typing import Any, Optional

from jupyterhub.auth import LocalAuthenticator
from jupyterhub.handlers.base import BaseHandler
from tornado import web

from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import accounts
from jupyterhub4family.hub import calling, entrances, known_devices
from jupyterhub4family.hub.calling import DoorError
from jupyterhub4family.hub.known_devices import FamilyLoginHandler
from jupyterhub4family.hub.throttle import Throttle, Turn

#: Unix groups that the hub knows as groups of its own.
_MIRRORED_GROUPS = frozenset({accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP})


#: Why a login was refused, where that tells nothing to somebody who does not know the password.
_EXPLAINED = {
    "too-many": N_("Too many tries: wait a minute, then try again."),
    "broken": N_(
        "Your password could not be checked just now. Tell whoever looks after this machine: the hub's log says why."
    ),
    "account-expired": N_("Your account on this machine has expired. Ask your administrator."),
    "password-expired": N_("Your password has expired. Log in at the machine itself (or over ssh) and set a new one."),
    "administrator": N_(
        "Your account can become the administrator of this machine, so it cannot be used here. Ask your administrator."
    ),
}
#: Who knew the password of an account that is not let in, and who can change that.
_NO_MEMBER = N_(
    "Your password is right, but {name} is no member of this portal yet. A delegate or an administrator of this machine"
    " can change that: {command}"
)
_TOO_MANY_FROM_THERE = N_("Too many tries from your device: wait a quarter of an hour, then try again.")
_LOGGED = {
    Turn.EXHAUSTED: "too many wrong passwords from there",
    Turn.BUSY: "too many logins wait already",
}
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


def _can_look() -> bool:
    """Whether an account that was not found is not there: without a free descriptor none is found, says pwd."""
    opened = []
    try:
        for _file in range(4):
            opened.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


class DoorAuthenticator(LocalAuthenticator):  # type: ignore[misc]  # jupyterhub has no types
    """Debian passwords through the door; membership from the live group database."""

    async def authenticate(self, handler: Any, data: dict[str, str]) -> Optional[dict[str, Any]]:
        """Return name and groups of who gave the right password, None for everybody else."""
        if not entrances.came_through_proxy(handler.request):
            # The port for members' servers: who asks there has an account, and no address that counts.
            raise web.HTTPError(403, "passwords are taken at the portal only")
        # Telephones write the first letter large and add a space: Debian's names have neither.
        name = self.normalize_username(data["username"].strip())
        address = plain_address(handler.request.remote_ip)
        device = known_devices.known_device(handler, name)
        if device and not throttle.believes(device):
            device = ""
        async with throttle.turn(address, name, device) as turn:
            if turn is not Turn.GRANTED:
                self.log.warning("Login of %r from %s refused: %s", name[:32], address, _LOGGED[turn])
                too_many = _TOO_MANY_FROM_THERE if turn is Turn.EXHAUSTED else _EXPLAINED["too-many"]
                raise LoginExplained(_(too_many))
            verdict = await self._ask(doors.Login(name, data["password"], address, device or None))
            if verdict.reason in ("refused", "too-many"):
                throttle.wrong(address, name, device)
        if verdict.allowed:
            return self._model(verdict.name)
        self.log.warning("Login of %r from %s refused: %s", name[:32], address, verdict.reason)
        if verdict.reason == "no-member":
            raise LoginExplained(_(_NO_MEMBER, name=name, command=f"sudo jupyterhub4family members add {name}"))
        if verdict.reason in _EXPLAINED:
            raise LoginExplained(_(_EXPLAINED[verdict.reason]))
        return None

    async def _ask(self, login: doors.Login) -> doors.Verdict:
        """What the door says; `broken` if it could not be asked."""
        try:
            verdict = await calling.open_door(doors.CHECK_PASSWORD, login)
        except DoorError as error:
            self.log.error("The password of %r could not be checked: %s", login.name[:32], error.message)
            return doors.Verdict(allowed=False, reason="broken")
        if verdict.reason == "broken":
            self.log.error("The password of %r could not be checked: PAM does not work", login.name[:32])
        return verdict

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """JupyterHub's login page, which also remembers devices."""
        return [("/login", FamilyLoginHandler)]

    async def refresh_user(self, user: Any, handler: Any = None, **_more: Any) -> Any:
        """Look again whether `user` is still a member, and in which groups."""
        if handler is not None and not hasattr(handler, "_token_authenticated"):
            # JupyterHub 6.1.1 reads this when we say no, and sets it only for requests with a token
            # (handlers/base.py: refresh_auth): the refusal would become a traceback.
            handler._token_authenticated = False
        model = self._model(user.name)
        if model is None and isinstance(handler, BaseHandler) and _can_look():
            handler.set_cookie(
                REMOVED_COOKIE, "1", expires_days=_REMOVED_DAYS, path=handler.hub.base_url, httponly=True
            )
        if model is not None and not self.enable_auth_state and _is_as_it_should_be(user.orm_user, model):
            # To JupyterHub: there is nothing to write.
            return True
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


def _is_as_it_should_be(row: Any, model: dict[str, Any]) -> bool:
    """Whether the hub's user has what JupyterHub would see to (handlers/base.py, auth_to_user, 5.5 and 6.1)."""
    roles = {role.name for role in row.roles}
    return (
        {group.name for group in row.groups} == set(model["groups"])
        and "user" in roles
        and bool(row.admin) == ("admin" in roles)
        and row.encrypted_auth_state is None
    )
