"""Runs inside JupyterHub's process, as `jupyterhub`: has it ask its database only what it does not know (ADR 34).

More than half of what the hub computes while a server starts are questions to sqlite by way of SQLAlchemy, and most of
their answers are thrown away: JupyterHub keeps whom it has met (`expire_on_commit=False`), but looks for them anew for
each request. Here it gets them without a question, as long as nothing was taken away from the database since by anybody
(service/hub_state/connection.py: `as_of`), and nothing that was changed waits to be written.

None of JupyterHub's files is changed. Where its classes, or SQLAlchemy's, are not as they were when this was tried out
(JupyterHub 5.5 and 6.1), they stay as they are.
"""

from __future__ import annotations

import collections
import hashlib
import inspect
import logging
import re
from collections.abc import Hashable
from typing import Any, Optional

import sqlalchemy
from jupyterhub import orm
from jupyterhub.oauth import provider
from sqlalchemy.orm import Query, object_session, strategies

from jupyterhub4family.hub import replacing
from jupyterhub4family.service.hub_state.connection import Connection

#: So many rows are kept of what was looked for last: of a family's hub all of them.
MOST = 500
#: By which columns JupyterHub looks for a row that is the only one of this kind.
_UNIQUE = {
    orm.User: ("name", "cookie_id"),
    orm.Group: ("name",),
    orm.Role: ("name",),
    orm.Service: ("name",),
    orm.OAuthClient: ("identifier",),
}
#: What `jupyterhub.utils.new_token` makes: 122 random bits.
_RANDOM_TOKEN = re.compile(r"[0-9a-f]{32}")

log = logging.getLogger("jupyterhub4family")


class NotAsTriedOut(Exception):
    """This JupyterHub, or this SQLAlchemy, is another one than was tried out."""


def ask_less() -> None:
    """Change JupyterHub's classes, before it opens its database; what cannot be changed stays as it is."""
    # Without the underscore in SQLAlchemy 2.0.
    loader: Any = getattr(strategies, "_SelectInLoader", None) or getattr(strategies, "SelectInLoader", None)
    for owner, name, change in (
        (orm, "register_ping_connection", _spare_pings),
        (loader, "_load_for_path", _spare_loaded),
        (orm, "new_session_factory", _remember_names),
        (orm.APIToken, "find", _remember_tokens),
        (provider, "hash_token", _hash_secrets_once),
    ):
        try:
            replacing.replace(owner, name, change)
        except (NotAsTriedOut, AttributeError, TypeError, ValueError) as error:
            log.warning("The hub works as JupyterHub does by itself (%s): %s", change.__name__.strip("_"), error)


# -- what nobody needs to know -----------------------------------------------------------------------


def _spare_pings(plain: Any) -> Any:
    """No question at the beginning of each transaction whether the database is still there: it is a file."""

    def register_ping_connection(engine: Any) -> None:
        """As JupyterHub's own, for a database that is behind a network."""
        if engine.dialect.name != "sqlite":
            plain(engine)

    return register_ping_connection


def _spare_loaded(plain: Any) -> Any:
    """No question for somebody's roles, groups and shares that are loaded already.

    SQLAlchemy asks for them with each row (`lazy="selectin"`), and then leaves aside what it was told if the row was
    known: five questions for each click.
    """
    if list(inspect.signature(plain).parameters)[:5] != ["self", "context", "path", "states", "load_only"]:
        raise NotAsTriedOut("rows are loaded in another way")

    def load_for_path(self: Any, context: Any, path: Any, states: Any, load_only: Any, *args: Any, **more: Any) -> Any:
        """As SQLAlchemy's own, for those of whom something is missing."""
        wanted = [(state, overwrite) for state, overwrite in states if overwrite or self.key not in state.dict]
        return plain(self, context, path, wanted, load_only, *args, **more) if wanted else None

    return load_for_path


def _hash_secrets_once(plain: Any) -> Any:
    """Hash the secret that a server shows when it asks who has come as JupyterHub hashes the same text as a token.

    It is the server's token, which lies beside it in the database, hashed once, because nobody guesses it anyway. As a
    secret it would be hashed 16,384 times, at the start and whenever a browser opens the server.
    """
    if "rounds" not in inspect.signature(plain).parameters:
        raise NotAsTriedOut("secrets are hashed in another way")

    def hash_token(token: str, *args: Any, **more: Any) -> str:
        """As JupyterHub's own; the result says how often it was hashed."""
        if not args and not more and _RANDOM_TOKEN.fullmatch(token):
            more["rounds"] = orm.APIToken.generated_rounds
        return str(plain(token, *args, **more))

    return hash_token


# -- what is known already ---------------------------------------------------------------------------


class Found:
    """Rows that were found in the database, by what they were looked for."""

    def __init__(self) -> None:
        self._rows: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()
        self._as_of: object = None

    def get(self, session: Any, key: Hashable) -> Any:
        """The row that a question would find now, without asking; None if that is not sure."""
        self._forget_what_may_be_gone()
        row = self._rows.get(key)
        if row is None or session.new or session.deleted or session.dirty:
            return None
        state = sqlalchemy.inspect(row)
        # Of another session, no longer in the database, or to be read anew.
        if object_session(row) is not session or not state.persistent or state.expired:
            return None
        self._rows.move_to_end(key)
        return row

    def add(self, key: Hashable, row: Any) -> None:
        """Keep what a question has found that was asked after `get`, unless something was taken away meanwhile."""
        if row is not None and Connection.as_of() == self._as_of:
            self._rows[key] = row
            if len(self._rows) > MOST:
                self._rows.popitem(last=False)

    def _forget_what_may_be_gone(self) -> None:
        """Everything, if something was taken away since."""
        as_of = Connection.as_of()
        if as_of != self._as_of:
            self._rows.clear()
            self._as_of = as_of


found = Found()


class Lookup:
    """What `session.query(User)` returns: knows rows by their unique columns; else it is SQLAlchemy's Query."""

    def __init__(self, entity: Any, session: Any, column: str = "", value: str = "") -> None:
        self._entity, self._session = entity, session
        self._column, self._value = column, value

    def filter(self, *criteria: Any) -> Any:
        """As a Query's; `User.cookie_id == "…"` is known."""
        column, value = _comparison(self._entity, criteria)
        return self._of(column, value) if column else self._query().filter(*criteria)

    def filter_by(self, **criteria: Any) -> Any:
        """As a Query's; `identifier="…"` is known."""
        ((column, value),) = criteria.items() if len(criteria) == 1 else [("", None)]
        if column in _UNIQUE[self._entity] and isinstance(value, str):
            return self._of(column, value)
        return self._query().filter_by(**criteria)

    def first(self) -> Any:
        """As a Query's."""
        return self._one("first")

    def one(self) -> Any:
        """As a Query's."""
        return self._one("one")

    def one_or_none(self) -> Any:
        """As a Query's."""
        return self._one("one_or_none")

    def __iter__(self) -> Any:
        return iter(self._query())

    def __getitem__(self, item: Any) -> Any:
        return self._query()[item]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._query(), name)

    def _of(self, column: str, value: str) -> Any:
        if self._column:
            return self._query().filter_by(**{column: value})
        return Lookup(self._entity, self._session, column, value)

    def _query(self) -> Any:
        query: Any = Query((self._entity,), self._session)
        return query.filter_by(**{self._column: self._value}) if self._column else query

    def _one(self, method: str) -> Any:
        if not self._column:
            return getattr(self._query(), method)()
        key = (self._entity, self._column, self._value)
        row = found.get(self._session, key)
        # Read, not asked for: nothing of it is expired.
        if row is None or getattr(row, self._column) != self._value:
            row = getattr(self._query(), method)()
            found.add(key, row)
        return row


def query(entities: Any, session: Any, **more: Any) -> Any:
    """What `session.query(…)` returns."""
    if len(entities) == 1 and not more and isinstance(entities[0], type) and entities[0] in _UNIQUE:
        return Lookup(entities[0], session)
    return Query(entities, session, **more)


def _remember_names(plain: Any) -> Any:
    """Know users, roles, groups, services and clients by name, and users by their cookie."""
    for entity, columns in _UNIQUE.items():
        if not all(entity.__table__.columns[column].unique for column in columns):
            raise NotAsTriedOut(f"{entity.__tablename__} may have two of the same name")

    def new_session_factory(*args: Any, **more: Any) -> Any:
        """As JupyterHub's own."""
        factory = plain(*args, **more)
        # Only of our own connections is it known what was taken away.
        if more.get("connect_args", {}).get("factory") is Connection:
            factory.configure(query_cls=query)
        return factory

    def find(cls: Any, db: Any, name: str) -> Any:
        """As JupyterHub's own, without making an expression first."""
        return db.query(cls).filter_by(name=name).first()

    named = (orm.User, orm.Group, orm.Role, orm.Service)
    for entity in named:
        if list(inspect.signature(entity.find).parameters) != ["db", "name"]:
            raise NotAsTriedOut(f"{entity.__tablename__} are looked for in another way")
    for entity in named:
        replacing.replace(entity, "find", lambda _plain: find)
    return new_session_factory


def _remember_tokens(plain: Any) -> Any:
    """Know tokens that came before: a server comes with its own several times while it starts."""
    if list(inspect.signature(plain).parameters) != ["cls", "db", "token", "kind"]:
        raise NotAsTriedOut("tokens are looked for in another way")

    def find(cls: Any, db: Any, token: str, *, kind: Optional[str] = None) -> Any:
        """As JupyterHub's own."""
        if kind is not None or not _is_ours(db):
            return plain(cls, db, token, kind=kind)
        # The text itself is not kept: it opens a member's server.
        key = (cls, hashlib.sha256(token.encode("utf-8", "replace")).digest())
        row = found.get(db, key)
        if row is None or row.expired or not row.match(token):
            row = plain(cls, db, token)
            found.add(key, row)
        return row

    return find


def _is_ours(session: Any) -> bool:
    """Whether what is taken away from a session's database is known."""
    return session._query_cls is query


def _comparison(entity: Any, criteria: Any) -> tuple[str, str]:
    """Which unique column is compared with which text; empty if it is something else."""
    if len(criteria) == 1:
        one = criteria[0]
        left, right = getattr(one, "left", None), getattr(one, "right", None)
        if getattr(one, "operator", None) is sqlalchemy.sql.operators.eq and isinstance(
            right, sqlalchemy.sql.elements.BindParameter
        ):
            table = getattr(getattr(left, "table", None), "name", None)
            column, value = getattr(left, "name", ""), right.value
            if table == entity.__tablename__ and column in _UNIQUE[entity] and isinstance(value, str):
                return column, value
    return "", ""
