"""hub.kept_tokens: a member's tokens have an end, and their notes, too."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from jupyterhub import orm

from jupyterhub4family.hub import kept_tokens
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Portal, in_a_loop, start


def test_so_many_tokens_and_notes_so_long(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_tokens, "MAXIMUM", 2)

    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser("en")
            await anna.log_in("anna")
            tokens = "users/anna/tokens"
            long = await anna.api("POST", tokens, {"note": "n" * (kept_tokens.LONGEST_NOTE + 1)})
            assert long.code == 400 and b"at most 200" in long.body
            made = [await anna.api("POST", tokens, {"note": "n" * kept_tokens.LONGEST_NOTE}) for _ in "123"]
            assert [one.code for one in made] == [201, 201, 400] and b"revoke some" in made[2].body
            kept = json.loads((await anna.api("GET", tokens)).body)["api_tokens"]
            assert {json.loads(one.body)["id"] for one in made[:2]} <= {one["id"] for one in kept}
            await anna.api("DELETE", f"{tokens}/{json.loads(made[0].body)['id']}")
            assert (await anna.api("POST", tokens)).code == 201
            many = [f"access:servers!server=anna/{number}" for number in range(kept_tokens.MOST_SCOPES + 1)]
            for body in ({"scopes": many}, {"roles": many}):
                refused = await anna.api("POST", tokens, body)
                assert refused.code == 400 and b"at most 100 scopes" in refused.body
            # Who may not is told so, as ever.
            assert (await anna.api("POST", "users/ben/tokens")).code in (403, 404)

    in_a_loop(work)


def test_so_many_codes_of_shares(machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tokens, "MAXIMUM", 2)

    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser("en")
            await anna.log_in("anna")
            row = portal.user("anna").orm_user
            portal.app.db.add(orm.Spawner(name="", user=row))
            portal.app.db.commit()
            made = [await anna.api("POST", "share-codes/anna/") for _ in "123"]
            assert [one.code for one in made] == [200, 200, 400] and b"revoke some" in made[2].body
            await anna.api("DELETE", f"share-codes/anna/?id={json.loads(made[0].body)['id']}")
            assert (await anna.api("POST", "share-codes/anna/")).code == 200
            assert (await anna.api("POST", "share-codes/ben/")).code in (403, 404)

    in_a_loop(work)


@pytest.mark.parametrize("count", [kept_tokens.MOST_SCOPES, kept_tokens.MOST_SCOPES + 1])
def test_so_many_scopes_that_somebody_agrees_to(
    machine: MachineDirectory, doors: Doors, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser("en")
            await anna.log_in("anna")
            scopes = "&".join(f"scopes={number}" for number in range(count))
            query = f"client_id=none&response_type=code&_xsrf={anna.cookies['_xsrf']}&{scopes}"
            assert (await anna.api("POST", f"oauth2/authorize?{query}")).code == 400
            # Else it is another reason, of JupyterHub's own: there is no such client.
            assert ("at most 100 scopes" in caplog.text) is (count > kept_tokens.MOST_SCOPES)

    in_a_loop(work)


def test_so_many_tokens_of_browsers_for_one_server(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes: else a script that logs in to its own server again and again fills the hub's database."""
    monkeypatch.setattr(kept_tokens, "MAXIMUM", 3)

    async def work() -> None:
        async with Portal(machine) as portal:
            anna, user = portal.browser("en"), portal.user("anna")
            await anna.log_in("anna")
            kept: list[str] = []
            for name in ("x", "", "", "", "", ""):
                if len(kept) < 2:
                    await start(anna, user, name)
                spawner = user.spawners[name]
                callback = f"{spawner.server.base_url}oauth_callback"
                about = {"client_id": spawner.oauth_client_id, "redirect_uri": callback}
                query = urlencode({**about, "response_type": "code", "state": "x"})
                led = await anna.get(f"/hub/api/oauth2/authorize?{query}")
                assert led.code == 302, led.body
                (code,) = parse_qs(urlsplit(led.headers["Location"]).query)["code"]
                about = {**about, "client_secret": spawner.api_token, "grant_type": "authorization_code", "code": code}
                given = await anna._fetch("POST", "/hub/api/oauth2/token", urlencode(about), {})
                kept.append(json.loads(given.body)["access_token"])
            found = [orm.APIToken.find(portal.app.db, token) is not None for token in kept]
            assert found == [True, False, False, True, True, True], "and those for another server are not its"

    in_a_loop(work)


@pytest.mark.parametrize("time", ["1." * 32_000, ["2026-01-01"], 5, {"a": 1}])
def test_a_time_is_a_short_text(machine: MachineDirectory, doors: Doors, time: object) -> None:
    """To read one of 64,000 characters takes half a second, in which nobody else gets an answer."""

    async def work() -> None:
        async with Portal(machine) as portal:
            anna = portal.browser("en")
            await anna.log_in("anna")
            await start(anna, portal.user("anna"))
            now = "2026-01-01T10:00:00.000000Z"
            for body in ({"last_activity": time}, {"last_activity": now, "servers": {"": {"last_activity": time}}}):
                assert (await anna.api("POST", "users/anna/activity", body)).code == 400
            good = {"last_activity": now, "servers": {"": {"last_activity": now}}}
            assert (await anna.api("POST", "users/anna/activity", good)).code == 200

    in_a_loop(work)
