"""hub.documents: the hub's pages are shown in windows, and given to nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterhub4family.hub import documents
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Portal, in_a_loop

#: Pages, and errors, which are pages as well.
PATHS = (
    *("/hub/home", "/hub/token", "/hub/no-such-page", "/hub/error/503", "/hub/user/ben/"),
    *("/hub/gate?next=/user/ben/", "/hub/gate?next=x", "/hub/api/oauth2/authorize", "/hub/accept-share?code=x"),
)
OTHERS = (
    *(("cors", "empty"), ("no-cors", "empty"), ("same-origin", "empty"), ("cors", None), ("no-cors", None)),
    *(("navigate", "iframe"), ("navigate", "frame"), ("navigate", "object"), ("navigate", "embed")),
    *(("no-cors", "script"), ("no-cors", "image"), ("no-cors", "style"), (None, "empty"), (None, "iframe")),
)


@pytest.mark.parametrize(
    ("mode", "destination", "expected"),
    [
        *((mode, destination, False) for mode, destination in OTHERS),
        ("navigate", "document", True),
        ("navigate", None, True),
        (None, "document", True),
        (None, None, True),
    ],
)
def test_who_is_shown_a_page(mode: str | None, destination: str | None, expected: bool) -> None:
    headers = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    assert documents.is_for_people({name: value for name, value in headers.items() if value}) is expected


def test_nothing_of_a_page_goes_to_a_script(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            for path in PATHS:
                shown = await browser.get(path, **{"Sec-Fetch-Dest": "document"})
                assert b"<html" in shown.body, path
                for mode, destination in OTHERS:
                    del browser.headers["Sec-Fetch-Mode"]
                    sent: dict[str, Any] = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
                    sent = {name: value for name, value in sent.items() if value}
                    answer = await browser.get(path, **sent, **{"Sec-Fetch-Site": "same-origin"})
                    browser.headers["Sec-Fetch-Mode"] = "navigate"
                    assert answer.code >= 400 and answer.body == b"", (path, mode, destination, answer.code)
                    assert answer.code in {403, shown.code}, (path, mode, destination)
                    assert not any("_xsrf" in one for one in answer.headers.get_list("Set-Cookie")) or mode is None

    in_a_loop(work)


def test_scripts_of_our_own_pages_go_on(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            await browser.log_in("anna")
            modes = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
            assert b'"anna"' in (await browser.api("GET", "user")).body
            refused = await browser.get("/hub/api/user", **modes)
            assert refused.code == 403 and b"message" in refused.body, "without the token; and an error is for programs"
            picture = await browser.get("/hub/logo", **{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"})
            style = await browser.get("/hub/trust/static/family.css", **modes)
            assert picture.code == style.code == 200 and picture.body and style.body
            del browser.headers["Sec-Fetch-Mode"]
            assert b"<html" in (await browser.get("/hub/home")).body, "a browser that does not tell"

    in_a_loop(work)
