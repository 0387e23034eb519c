"""Runs inside JupyterHub's process, as `jupyterhub`: how many tokens members may keep in the hub, and how large ones.

JupyterHub has no bound: a member's script could fill the hub's database and memory with notes of a megabyte, and
have it compare thousands of scopes with each other, or read a date of 64,000 characters, for as long as half a minute,
in which nobody else gets an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from jupyterhub import orm
from jupyterhub.apihandlers.auth import OAuthAuthorizeHandler
from jupyterhub.apihandlers.shares import ServerShareCodeAPIHandler
from jupyterhub.apihandlers.users import ActivityAPIHandler, UserTokenListAPIHandler
from jupyterhub.oauth.provider import JupyterHubRequestValidator
from jupyterhub.user import User
from tornado import web

from jupyterhub4family.hub import replacing

#: Tokens of a member that were asked for by the member; and those that a member's browsers have for one server, which
#: JupyterHub keeps for two weeks: of these the oldest goes, and that browser is given another one unasked.
MAXIMUM = 100
#: Characters of a token's note.
LONGEST_NOTE = 200
#: Scopes, or roles, that a token is asked for with; JupyterHub has some sixty.
MOST_SCOPES = 100
#: Characters of a time, with which a server says when it was last used: ISO 8601 needs 32.
LONGEST_TIME = 64


def bound() -> None:
    """Have JupyterHub's handlers refuse what is too much: others of ours for its addresses would never be asked."""
    for owner, name, bounded in (
        (UserTokenListAPIHandler, "post", _tokens),
        (ServerShareCodeAPIHandler, "post", _share_codes),
        (OAuthAuthorizeHandler, "post", _authorizations),
        (ActivityAPIHandler, "post", _activity),
        (JupyterHubRequestValidator, "save_bearer_token", _tokens_of_browsers),
    ):
        replacing.replace(owner, name, bounded)


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


def _activity(note: Callable[..., Any]) -> Callable[..., Any]:
    """Saying when a member, or a server, was last active."""

    def post(handler: Any, user_name: str) -> Any:
        body = handler.get_json_body()
        servers = body.get("servers") if isinstance(body, dict) else None
        for one in (body, *(servers.values() if isinstance(servers, dict) else ())):
            time = one.get("last_activity") if isinstance(one, dict) else None
            if time is not None and not (isinstance(time, str) and len(time) <= LONGEST_TIME):
                raise web.HTTPError(400, f"a time is a text of at most {LONGEST_TIME} characters")
        return note(handler, user_name)

    return post


def _tokens_of_browsers(save: Callable[..., Any]) -> Callable[..., Any]:
    """Keeping a token that a server was given for a browser."""

    def save_bearer_token(validator: Any, token: Any, request: Any, *args: Any, **more: Any) -> Any:
        result = save(validator, token, request, *args, **more)
        kept = validator.db.query(orm.APIToken).filter_by(user_id=request.user.id, client_id=request.client.client_id)
        for old in kept.order_by(orm.APIToken.id.desc()).offset(MAXIMUM).all():
            validator.db.delete(old)
        validator.db.commit()
        return result

    return save_bearer_token


def _check_scopes(scopes: list[Any]) -> None:
    if len(scopes) > MOST_SCOPES:
        raise web.HTTPError(400, f"at most {MOST_SCOPES} scopes at a time")


def _count(database: Any, user: Any) -> int:
    count: int = database.query(orm.APIToken).filter_by(user_id=user.id, client_id="jupyterhub").count()
    return count
