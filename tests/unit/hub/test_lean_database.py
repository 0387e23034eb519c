"""hub.lean_database: fewer questions to the database, and what was taken away from it is gone at once."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from jupyterhub import orm
from sqlalchemy import event

from jupyterhub4family.common import paths
from jupyterhub4family.hub import lean_database
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Browser, Portal, in_a_loop, start


@contextlib.contextmanager
def questions(portal: Portal) -> Iterator[list[str]]:
    """What is asked of the database meanwhile."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        asked.append(statement)

    engine = portal.app.db.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def token_of(browser: Browser) -> dict[str, Any]:
    """A new token of Anna's."""
    made: dict[str, Any] = json.loads((await browser.api("POST", "users/anna/tokens")).body)
    return made


async def status(portal: Portal, token: dict[str, Any]) -> int:
    """What a program with this token is told."""
    headers = {"Authorization": f"token {token['token']}"}
    answer = await portal.browser()._fetch("GET", "/hub/api/user", None, headers)
    return int(answer.code)


def test_a_click_asks_nothing(machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser()
            await anna.log_in("anna")
            token = await token_of(anna)

            async def questions_of_clicks() -> list[str]:
                """The fewest of several times: the hub has begun just now, and has questions of its own."""
                times = []
                for _ in range(5):
                    with questions(portal) as asked:
                        assert (await anna.get("/hub/home")).code == 200
                        assert await status(portal, token) == 200
                    times.append(asked)
                return min(times, key=len)

            assert await questions_of_clicks() == []
            monkeypatch.setattr(lean_database.Found, "get", lambda *_arguments: None)
            # The user of the cookie, the token; roles, groups and shares are loaded, and nobody asks for "1".
            assert len(await questions_of_clicks()) == 2

    in_a_loop(work)


def revoked(portal: Portal, row: orm.APIToken) -> None:
    portal.app.db.delete(row)
    portal.app.db.commit()


def deleted_by_another_process(portal: Portal, row: orm.APIToken) -> None:
    with contextlib.closing(sqlite3.connect(paths.STATE / "jupyterhub.sqlite")) as other:
        other.execute("DELETE FROM api_tokens WHERE id = ?", (row.id,))
        other.commit()


def expired(portal: Portal, row: orm.APIToken) -> None:
    row.expires_at = orm.APIToken.now() - timedelta(seconds=1)
    portal.app.db.commit()


def exchanged(portal: Portal, row: orm.APIToken) -> None:
    row.token = "another one, of the same length."
    portal.app.db.commit()


def owner_removed(portal: Portal, row: orm.APIToken) -> None:
    portal.app.users.delete(portal.app.users[row.user.id])


@pytest.mark.parametrize("take", [revoked, deleted_by_another_process, expired, exchanged, owner_removed])
def test_a_token_that_was_taken_away_opens_nothing(
    machine: MachineDirectory, doors: Doors, take: Callable[[Portal, orm.APIToken], None]
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser()
            await anna.log_in("anna")
            token = await token_of(anna)
            assert [await status(portal, token) for _ in "12"] == [200, 200]
            take(portal, orm.APIToken.find(portal.app.db, token["token"]))
            assert await status(portal, token) == 403

    in_a_loop(work)


def test_nor_does_one_whose_time_is_over(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written when that happens."""

    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser()
            await anna.log_in("anna")
            token = json.loads((await anna.api("POST", "users/anna/tokens", {"expires_in": 600})).body)
            assert [await status(portal, token) for _ in "12"] == [200, 200]
            later: datetime = orm.APIToken.now() + timedelta(seconds=601)
            monkeypatch.setattr(orm.APIToken, "now", staticmethod(lambda: later))
            assert await status(portal, token) == 403

    in_a_loop(work)


def test_who_is_removed_or_called_otherwise_is_not_found(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            db, row = portal.app.db, portal.user("anna").orm_user
            cookie = row.cookie_id

            def by_cookie() -> Any:
                return db.query(orm.User).filter(orm.User.cookie_id == cookie).first()

            for _ in "12":
                assert orm.User.find(db, "anna") is row and by_cookie() is row
            row.cookie_id = "another"
            assert by_cookie() is None, "not even written"
            db.commit()
            assert by_cookie() is None
            row.name = "anne"
            assert orm.User.find(db, "anna") is None and orm.User.find(db, "anne") is row
            db.rollback()
            assert orm.User.find(db, "anna") is row and orm.User.find(db, "anne") is None
            portal.app.users.delete(portal.app.users[row.id])
            assert orm.User.find(db, "anna") is None

    in_a_loop(work)


def test_who_was_never_written_is_not_found(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            db = portal.app.db
            db.add(orm.User(name="zoe"))
            assert orm.User.find(db, "zoe") is not None
            db.rollback()
            assert orm.User.find(db, "zoe") is None
            assert db.query(orm.OAuthClient).filter_by(identifier="none").one_or_none() is None
            assert db.query(orm.Role).filter_by(name="user").one() is orm.Role.find(db, "user")

    in_a_loop(work)


def test_roles_groups_and_shares_count_at_once(machine: MachineDirectory, doors: Doors) -> None:
    """They are not asked for again; they change with the database."""
    machine.member("ben", 1002)

    async def work() -> None:
        async with Portal(machine) as portal:
            anna, ben, db = portal.browser(), portal.browser(), portal.app.db
            await anna.log_in("anna")
            await ben.log_in("ben")
            row, owner = portal.user("ben").orm_user, portal.user("anna").orm_user
            helpers = db.query(orm.Role).filter_by(name="jupyterhub_adm").one()

            async def may() -> bool:
                return bool((await ben.api("GET", "users/anna")).code == 200)

            assert not await may()
            row.roles.append(helpers)
            db.commit()
            assert await may()
            helpers.users.remove(row)
            db.commit()
            assert not await may()
            group = orm.Group(name="x", roles=[helpers])
            db.add(group)
            portal.app.authenticator.auth_refresh_age = 3600
            row.groups.append(group)
            db.commit()
            assert await may()
            db.delete(group)
            db.commit()
            assert not await may()
            await start(anna, portal.user("anna"))
            (spawner,) = owner._orm_spawners
            orm.Share.grant(db, spawner, row)
            session = json.loads((await ben.api("GET", "user")).body)
            assert "access:servers!server=anna/" in session["scopes"]
            assert (await anna.api("DELETE", "shares/anna/")).code == 204
            session = json.loads((await ben.api("GET", "user")).body)
            assert "access:servers!server=anna/" not in session["scopes"]

    in_a_loop(work)


def test_queries_of_other_kinds_are_sqlalchemys(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            db, row = portal.app.db, portal.user("anna").orm_user
            users = db.query(orm.User)
            assert list(users) == [row] == users.all() and users[0] is row and users.count() == 1
            assert users.first() is row and users.one() is row
            assert users.filter(orm.User.name != "anna").first() is None
            assert users.filter(orm.User.name == "anna", orm.User.admin.is_(True)).first() is None
            assert users.filter_by(name="anna", admin=True).first() is None
            assert users.filter_by(name="anna").filter_by(cookie_id="x").first() is None
            assert users.filter(orm.User.name == "anna").filter(orm.User.cookie_id == "x").first() is None
            assert users.filter_by(name=None).first() is None

    in_a_loop(work)


def test_the_secret_of_a_server_is_hashed_as_its_token_is(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            anna, user = portal.browser(), portal.user("anna")
            await anna.log_in("anna")
            await start(anna, user)
            client = user.spawner.orm_spawner.oauth_client
            assert client.secret.startswith("sha512:1:")
            assert orm.compare_token(client.secret, user.spawner.api_token)
            own = portal.app.oauth_provider.add_client("service", "chosen by somebody, and long", "/x")
            assert own.secret.startswith("sha512:16384:"), "what people think of is not"

    in_a_loop(work)


def test_what_is_not_as_it_was_stays_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def find(cls: Any, db: Any, token: str, something_new: bool = False) -> str:
        return "JupyterHub's own"

    monkeypatch.setattr(orm.APIToken, "find", classmethod(find))
    with caplog.at_level(logging.WARNING):
        lean_database.ask_less()
    assert orm.APIToken.find(None, "x") == "JupyterHub's own"
    assert "remember_tokens" in caplog.text and "spare_pings" not in caplog.text
