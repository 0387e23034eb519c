"""Runs inside JupyterHub's process, as `jupyterhub`: how many tokens members may keep in the hub, and how large ones.

JupyterHub has no bound: a member's script could fill the hub's database and memory with notes of a megabyte, and
have it compare thousands of scopes with each other for minutes, in which nobody else gets an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from jupyterhub import orm
from jupyterhub.apihandlers.auth import OAuthAuthorizeHandler
from jupyterhub.apihandlers.shares import ServerShareCodeAPIHandler
from jupyterhub.apihandlers.users import UserTokenListAPIHandler
from jupyterhub.user import User
from tornado import web

#: Tokens of a member that were asked for by the member. Those of servers and of browsers are JupyterHub's, and end by
#: themselves.
MAXIMUM = 100
#: Characters of a token's note.
LONGEST_NOTE = 200
#: Scopes, or roles, that a token is asked for with; JupyterHub has some sixty.
MOST_SCOPES = 100


def bound() -> None:
    """Have JupyterHub's handlers refuse what is too much: others of ours for its addresses would never be asked."""
    for handlers, bounded in (
        (UserTokenListAPIHandler, _tokens),
        (ServerShareCodeAPIHandler, _share_codes),
        (OAuthAuthorizeHandler, _authorizations),
    ):
        # The configuration is read more than once in one process.
        if not getattr(handlers.post, "is_bounded", False):
            handlers.post = bounded(handlers.post)
            handlers.post.is_bounded = True


def _tokens(make: Callable[..., Any]) -> Callable[..., Any]:
    """Making tokens."""

    async def post(handler: Any, user_name: str) -> None:
        body = handler.get_json_body()
        if isinstance(body, dict) and len(str(body.get("note") or "")) > LONGEST_NOTE:
            raise web.HTTPError(400, f"a token's note has at most {LONGEST_NOTE} characters")
        if isinstance(body, dict):
            for key in ("scopes", "roles"):
                if isinstance(body.get(key), list):
                    _check_scopes(body[key])
        user = handler.find_user(user_name)
        before = 0 if user is None else _count(handler.db, user)
        await make(handler, user_name)
        # Looked at afterwards: whoever may not make one is not told how many there are.
        if before >= MAXIMUM and handler.get_status() == 201:
            newest = handler.db.query(orm.APIToken).filter_by(user_id=user.id).order_by(orm.APIToken.id.desc()).first()
            handler.db.delete(newest)
            handler.db.commit()
            raise web.HTTPError(400, f"{user_name} has {MAXIMUM} tokens: revoke some that are not needed first")

    return post


def _share_codes(make: Callable[..., Any]) -> Callable[..., Any]:
    """Making codes by which others accept a share of a server."""

    async def post(handler: Any, user_name: str, server_name: Optional[str] = None) -> None:
        owner = handler.current_user
        if getattr(owner, "name", None) == user_name and isinstance(owner, User):
            kept = handler.db.query(orm.ShareCode).filter_by(owner_id=owner.id).count()
            if kept >= MAXIMUM:
                raise web.HTTPError(400, f"{user_name} has {MAXIMUM} codes: revoke some that are not needed first")
        await make(handler, user_name, server_name)

    return post


def _authorizations(agree: Callable[..., Any]) -> Callable[..., Any]:
    """Agreeing to the scopes of tokens that servers ask for in a member's name."""

    def post(handler: Any) -> Any:
        _check_scopes(handler.get_arguments("scopes") + handler.get_argument("scope", "").split())
        return agree(handler)

    return post


def _check_scopes(scopes: list[Any]) -> None:
    if len(scopes) > MOST_SCOPES:
        raise web.HTTPError(400, f"at most {MOST_SCOPES} scopes at a time")


def _count(database: Any, user: Any) -> int:
    count: int = database.query(orm.APIToken).filter_by(user_id=user.id, client_id="jupyterhub").count()
    return count
