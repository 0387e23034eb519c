"""hub.trust: the page that makes a device trust the portal, for everybody, and what it hands out."""

from __future__ import annotations

import asyncio
import hashlib
import json
import plistlib
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from jupyterhub4family.common.i18n import messages
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import certificates
from jupyterhub4family.common.system import network
from jupyterhub4family.hub import trust
from tests.unit.helpers import write_program
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import HubSocket, Portal, in_a_loop, text_of

#: No certificate, but DER to everybody who only passes it on.
DER = b"\x30\x03\x02\x01\x2a"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"
ANDROID = "Mozilla/5.0 (Linux; Android 15)"


@pytest.fixture
def lan(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address at home."""
    monkeypatch.setattr(network, "lan_addresses", lambda: ["192.168.178.20"])


def give_authority(machine: MachineDirectory) -> None:
    (machine.public / "ca.crt").write_text(certificates.to_pem(DER), "ascii")


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_is_for_everybody_and_opens_this_devices_section(
    machine: MachineDirectory, doors: Doors, lan: None, german: None, language: str
) -> None:
    give_authority(machine)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser(language)
            for agent, section in ((IPHONE, "ios"), (ANDROID, "android")):
                answer = await browser.get("/hub/trust", **{"User-Agent": agent})
                page = answer.body.decode("utf-8")
                assert answer.code == 200
                opened = [line for line in page.splitlines() if 'id="device-' in line and " open>" in line]
                assert len(opened) == 1 and f'id="device-{section}"' in opened[0]
            assert certificates.fingerprint(DER) in text_of(page).replace(": ", ":")
            message = "Let this device trust the portal"
            reported = (
                message if language == "en" else messages.translated(messages.Message(message, message, {}), "de")
            )
            assert f"<h1>{reported}</h1>" in page and f'<html lang="{language}">' in page
            assert 'data-host="familybox:8000"' in page and "http://192.168.178.20:8000/trust" in page
            assert 'type="password"' not in page
            assert (await browser.get("/hub/home")).code == 302, "nobody has logged in"

    in_a_loop(work)


@pytest.mark.parametrize("reason", ["none", "own"])
def test_without_an_authority_of_its_own_there_is_nothing_to_install(
    machine: MachineDirectory, doors: Doors, lan: None, reason: str
) -> None:
    if reason == "own":
        give_authority(machine)
        (machine.public / "certificate.json").write_text(json.dumps({"source": "own"}), "ascii")

    async def work() -> None:
        async with Portal(machine) as portal:
            page = await portal.browser().page("/hub/trust")
            assert "there is nothing to install" in page and "ca.crt" not in page and "fingerprint" not in page

    in_a_loop(work)


def test_downloads(machine: MachineDirectory, doors: Doors, german: None) -> None:
    async def work() -> None:
        async with Portal(machine, "family_name: Adlers\n") as portal:
            browser = portal.browser("de")
            for kind in ("crt", "mobileconfig"):
                assert (await browser.get(f"/hub/trust/ca.{kind}")).code == 404
            give_authority(machine)
            answer = await browser.get("/hub/trust/ca.crt")
            assert answer.headers["Content-Type"] == "application/x-x509-ca-cert"
            assert answer.headers["Content-Disposition"] == 'attachment; filename="family-jupyterhub-ca.crt"'
            assert certificates.first_certificate(answer.body.decode("ascii")) == DER
            answer = await browser.get("/hub/trust/ca.mobileconfig")
            assert answer.headers["Content-Type"] == "application/x-apple-aspen-config"
            assert answer.headers["Content-Disposition"].endswith('"family-jupyterhub-ca.mobileconfig"')
            profile = plistlib.loads(answer.body)
            assert profile["PayloadContent"][0]["PayloadContent"] == DER
            english = plistlib.loads((await portal.browser("en").get("/hub/trust/ca.mobileconfig")).body)
            assert "Adlers" in profile["PayloadDisplayName"] and "Adlers" in english["PayloadDisplayName"]
            assert profile["PayloadDisplayName"] != english["PayloadDisplayName"]
            assert profile["PayloadUUID"] == english["PayloadUUID"]

    in_a_loop(work)


def test_the_address_as_a_qr_code_drawn_once(machine: MachineDirectory, doors: Doors, lan: None) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            first, second = await browser.get("/hub/trust/qr.svg"), await browser.get("/hub/trust/qr.svg")
            assert first.code == 200 and first.headers["Content-Type"] == "image/svg+xml"
            assert b"<svg" in first.body and first.body == second.body
            assert doors.others.count("/usr/bin/qrencode") == 1

    in_a_loop(work)


def test_another_address_is_drawn_anew(machine: MachineDirectory, doors: Doors) -> None:
    async def work() -> None:
        drawings = [await trust.drawing(f"http://192.168.178.{number}/") for number in (1, 2, 1)]
        assert drawings[0] == drawings[2] != drawings[1] and doors.others.count("/usr/bin/qrencode") == 3

    in_a_loop(work)


def test_without_qrencode_the_page_stays(
    machine: MachineDirectory, doors: Doors, lan: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trust, "DRAWING_TIME", 0.2)
    give_authority(machine)

    async def work() -> None:
        async with Portal(machine) as portal:
            for replacement in (
                tmp_path / "missing",
                write_program(tmp_path / "fails", "raise SystemExit(1)"),
                write_program(tmp_path / "hangs", "import time; time.sleep(60)"),
            ):
                doors.replaced["/usr/bin/qrencode"] = replacement
                assert (await portal.browser().get("/hub/trust/qr.svg")).code == 503
            assert (await portal.browser().get("/hub/trust")).code == 200

    in_a_loop(work)


def test_a_portal_for_this_computer_alone_has_no_next_device(
    machine: MachineDirectory, doors: Doors, lan: None
) -> None:
    give_authority(machine)

    async def work() -> None:
        async with Portal(machine, "listen: local\n") as portal:
            assert (await portal.browser().get("/hub/trust/qr.svg")).code == 404
            assert "qr.svg" not in await portal.browser().page("/hub/trust")

    in_a_loop(work)


def test_without_https_there_is_nothing_to_trust(machine: MachineDirectory, doors: Doors) -> None:
    assert trust.handlers(Settings(https=False, listen="local")) == []

    async def work() -> None:
        async with Portal(machine, "listen: local\nhttps: false\n") as portal:
            browser = portal.browser()
            for path in ("", "/ca.crt", "/ca.mobileconfig", "/qr.svg", "/check", "/socket"):
                assert (await browser.get(f"/hub/trust{path}")).code == 404
            assert "/hub/trust" not in (await browser.page("/hub/login")).replace("/hub/trust/static", "")

    in_a_loop(work)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://familybox:8000", True),
        ("https://familybox:8000", True),
        ("", False),
        ("http://evil.example", False),
        ("null", False),
        ("http://familybox:8001", False),
    ],
)
def test_the_check_answers_pages_of_this_portal_only(
    machine: MachineDirectory, doors: Doors, origin: str, allowed: bool
) -> None:
    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            answer = await browser.get("/hub/trust/check", Origin=origin, **{"Sec-Fetch-Mode": "cors"})
            assert answer.code == 200 and json.loads(answer.body) == {"trusted": True}
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Content-Type"].startswith("application/json")
            socket = await greeting(portal, origin)
            assert socket == ("trusted" if allowed or not origin else None)

    in_a_loop(work)


async def greeting(portal: Portal, origin: str) -> Any:
    """What the web socket says to a page of `origin`; None if it is refused."""
    headers = {"Host": "familybox:8000", **({"Origin": origin} if origin else {})}
    request = HTTPRequest("ws://hub/hub/trust/socket", headers=headers)
    try:
        connection = await asyncio.wait_for(websocket_connect(request, resolver=HubSocket()), 10)
    except Exception as error:
        assert getattr(error, "code", None) == 403
        return None
    output = await connection.read_message()
    assert await connection.read_message() is None, "and then it closes"
    return output


def test_nothing_here_is_secret(machine: MachineDirectory, doors: Doors, lan: None) -> None:
    """It comes over plain HTTP as well."""
    give_authority(machine)

    async def work() -> None:
        async with Portal(machine) as portal:
            browser = portal.browser()
            everything = ""
            for path in ("", "/ca.crt", "/ca.mobileconfig", "/qr.svg", "/check"):
                answer = await browser.get(f"/hub/trust{path}")
                everything += answer.body.decode("utf-8")
                cookies = " ".join(answer.headers.get_list("Set-Cookie"))
                assert "hub-login" not in cookies and "session-id" not in cookies
            for name in ("proxy_token", "routes_token", "membership_token", "gate_key", "cookie_secret"):
                assert (machine.state / name).read_text("ascii").strip() not in everything
            assert str(machine.directory) not in everything and "anna" not in everything

    in_a_loop(work)


def test_the_fingerprint_is_the_one_that_cert_show_tells() -> None:
    reported = certificates.fingerprint(DER).replace(":", "").lower()
    assert reported == hashlib.sha256(DER).hexdigest()
