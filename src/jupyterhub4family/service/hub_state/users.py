"""Runs as jupyterhub, called by the door `members` and by the hub at its start: makes the hub know or forget members.

Speaks to the hub's API at the hub's own socket, with a token that can list users, have members added, stop servers and
delete users: it can change nobody's name and give no rights. A hub that is not running is no error: at its next start
it compares its users with the members anyway.
"""

from __future__ import annotations

import sys
import time
import urllib.parse
from typing import Any

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import Names
from jupyterhub4family.service.hub_state import members, tokens
from jupyterhub4family.service.hub_state.hub_api import HubApi

#: Where the hub adds users, if they are members (hub/membership.py).
ADD_MEMBERS = "/jupyterhub4family/members"
#: Seconds until a server that was asked to stop must have done so.
STOP_TIMEOUT = 40.0


def main() -> int:
    """Answer one request."""
    return serving.serve(_hub, HANDLERS)


def _hub() -> Hub:
    return Hub(HubApi(tokens.MEMBERSHIP_TOKEN))


class Hub:
    """The few calls of JupyterHub's REST API that membership needs."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    def add(self, names: list[str]) -> None:
        """Make the hub list `names` before their first login."""
        if names:
            self._api.call("POST", ADD_MEMBERS, {"names": names}, accepted=(200,))

    def remove(self, name: str) -> None:
        """Stop the member's servers, then delete the hub's user with all tokens and sessions."""
        deadline = time.monotonic() + STOP_TIMEOUT
        path = f"/users/{urllib.parse.quote(name, safe='')}"
        while True:
            user = self._api.call("GET", path, accepted=(200, 404))
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
                    self._api.call("DELETE", path + word, accepted=(202, 204, 400, 404))
            time.sleep(0.2)
        self._api.call("DELETE", path, accepted=(204, 404))

    def sync(self, members: set[str]) -> None:
        """Remove every user that is no member, add every member that is no user."""
        users = {str(user["name"]) for user in self._all_users()}
        for name in sorted(users - members):
            self.remove(name)
        self.add(sorted(members - users))

    def _all_users(self) -> list[dict[str, Any]]:
        users: list[dict[str, Any]] = []
        while True:
            page = self._api.call("GET", f"/users?offset={len(users)}&limit=100", accepted=(200,))
            users += page
            if len(page) < 100:
                return users


def _add(hub: Hub, request: Names) -> Nothing:
    hub.add(request.names)
    return Nothing()


def _remove(hub: Hub, request: Names) -> Nothing:
    for name in request.names:
        hub.remove(name)
    return Nothing()


def _sync(hub: Hub, _request: Nothing) -> Nothing:
    hub.sync(members.current_members())
    return Nothing()


HANDLERS = (
    serving.on(service_programs.ADD_USERS, _add),
    serving.on(service_programs.REMOVE_USERS, _remove),
    serving.on(service_programs.SYNC_USERS, _sync),
)


if __name__ == "__main__":
    sys.exit(main())
