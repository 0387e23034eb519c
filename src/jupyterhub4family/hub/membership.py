"""Runs inside JupyterHub's process, as `jupyterhub`: lets the service's own program make members known.

JupyterHub's own way to add a user needs `admin:users`, which also changes names and rights: whoever got hold of such
a token could become another member by renaming users. This adds members and does nothing else.
"""

from __future__ import annotations

from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from tornado import web

from jupyterhub4family.service.hub_state import members

#: What a token has to have.
SCOPE = "custom:jupyterhub4family:add-members"
#: What JupyterHub wants to know of a scope that is not its own.
CUSTOM_SCOPES = {SCOPE: {"description": "Make the hub know accounts that are members."}}
#: What the service's token may do: this, and what removing a member needs.
SCOPES = [SCOPE, "list:users", "read:servers", "delete:servers", "delete:users"]
#: Below /hub/api.
PATH = "jupyterhub4family/members"


class MembersHandler(APIHandler):  # type: ignore[misc]  # jupyterhub has no types
    """Adds members."""

    async def post(self) -> None:
        """Add those of `names` that are members and not known yet; tells which."""
        # As JupyterHub's own decorator, which knows no scope before its configuration was read.
        if SCOPE not in self.parsed_scopes:
            raise web.HTTPError(403, f"this needs the scope {SCOPE}")
        body = self.get_json_body()
        names = body.get("names") if isinstance(body, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise web.HTTPError(400, "names must be a list of names")
        added = [name for name in names if self.find_user(name) is None and members.is_member(name)]
        for name in added:
            await self._add(name)
        self.write({"added": added})

    async def _add(self, name: str) -> None:
        user = self.user_from_username(name)
        self.db.commit()
        await self.authenticator.add_user(user)


def handlers() -> list[Any]:
    """What the hub serves below /hub."""
    return [(rf"/api/{PATH}", MembersHandler)]
