"""Runs as jupyterhub, called by the door `members` and by the hub at its start: makes the hub know or forget members.

Speaks to the hub's API on 127.0.0.1 with a token that can do this and little else. A hub that is not running
is no error: at its next start it compares its users with the members anyway.
"""

from __future__ import annotations

import grp
import http.client
import json
import pwd
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Optional

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import Names
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.system import accounts
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.hub_state.tokens import Secret

#: Seconds until a server that was asked to stop must have done so.
STOP_TIMEOUT = 40.0


class HubNotRunning(FamilyError):
    """Nobody answers at the hub's address."""

    status = ExitStatus.NOT_RUNNING


def main() -> int:
    """Answer one request."""
    return serving.serve(_hub, HANDLERS)


def _hub() -> Hub:
    port = effective.settings_in_use()[0].hub_port
    return Hub(f"http://127.0.0.1:{port}/hub/api", tokens.ensure_token(tokens.MEMBERSHIP_TOKEN))


def current_members() -> set[str]:
    """The names of all members, from the live group database."""
    group = grp.getgrnam(accounts.MEMBER_GROUP)
    names = set(group.gr_mem) | {account.pw_name for account in pwd.getpwall() if account.pw_gid == group.gr_gid}
    found = set()
    for name in names:
        try:
            if accounts.is_member(pwd.getpwnam(name)):
                found.add(name)
        except KeyError:
            continue
    return found


class Hub:
    """The few calls of JupyterHub's REST API that membership needs."""

    def __init__(self, url: str, token: Secret) -> None:
        self._url = url
        self._token = token
        # Whatever proxy the machine uses for the internet, the hub is on this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def add(self, names: list[str]) -> None:
        """Make the hub list `names` before their first login."""
        if names:
            # 409: it knows them all.
            self._call("POST", "/users", {"usernames": names}, accepted=(201, 409))

    def remove(self, name: str) -> None:
        """Stop the member's servers, then delete the hub's user with all tokens and sessions."""
        deadline = time.monotonic() + STOP_TIMEOUT
        path = f"/users/{urllib.parse.quote(name, safe='')}"
        while True:
            user = self._call("GET", path, accepted=(200, 404))
            if user is None:
                return
            servers = user.get("servers") or {}
            if not servers:
                break
            if time.monotonic() > deadline:
                raise FamilyError(
                    _(
                        "the servers of {name} did not stop within {seconds} seconds",
                        name=name,
                        seconds=f"{STOP_TIMEOUT:g}",
                    )
                )
            for server_name, server in servers.items():
                # Stopping a server that is on its way up or down is refused (400): asked again in a moment.
                if server.get("pending") != "stop":
                    word = f"/servers/{urllib.parse.quote(server_name, safe='')}" if server_name else "/server"
                    self._call("DELETE", path + word, accepted=(202, 204, 400, 404))
            time.sleep(0.2)
        self._call("DELETE", path, accepted=(204, 404))

    def sync(self, members: set[str]) -> None:
        """Remove every user that is no member, add every member that is no user."""
        users = {str(user["name"]) for user in self._all_users()}
        for name in sorted(users - members):
            self.remove(name)
        self.add(sorted(members - users))

    def _all_users(self) -> list[dict[str, Any]]:
        users: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", f"/users?offset={len(users)}&limit=100", accepted=(200,))
            users += page
            if len(page) < 100:
                return users

    def _call(self, method: str, path: str, body: Any = None, *, accepted: tuple[int, ...]) -> Any:
        """The decoded answer; None for an error status or an empty one. Raises HubNotRunning or FamilyError."""
        data: Optional[bytes] = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)  # noqa: S310 (127.0.0.1)
        request.add_header("Authorization", f"token {self._token.reveal()}")
        request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, b""
        except (OSError, http.client.HTTPException) as error:
            raise HubNotRunning(_("the hub does not answer"), "jupyterhub4family status") from error
        if status not in accepted:
            raise FamilyError(
                _("the hub refused {request}: status {status}", request=f"{method} {path}", status=status)
            )
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise HubNotRunning(_("another program answers in place of the hub"), "jupyterhub4family status") from error


def _add(hub: Hub, request: Names) -> Nothing:
    hub.add(request.names)
    return Nothing()


def _remove(hub: Hub, request: Names) -> Nothing:
    for name in request.names:
        hub.remove(name)
    return Nothing()


def _sync(hub: Hub, _request: Nothing) -> Nothing:
    hub.sync(current_members())
    return Nothing()


HANDLERS = (
    serving.on(service_programs.ADD_USERS, _add),
    serving.on(service_programs.REMOVE_USERS, _remove),
    serving.on(service_programs.SYNC_USERS, _sync),
)


if __name__ == "__main__":
    sys.exit(main())
