"""What browser tests share: a chromium with a store of its own, logging in, pictures, and what every page must keep."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, Page, Playwright, TimeoutError, ViewportSize, expect

from tests.machine.lib.family import PASSWORD
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import RUN, host

#: Milliseconds.
SOON, LATER = 15_000, 120_000
ROOT = Path(__file__).resolve().parents[2]

# What a page needs is on the machine; whatever else chromium would like to talk to is not there.
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
]
PHONE: ViewportSize = {"width": 360, "height": 640}
DESK: ViewportSize = {"width": 1280, "height": 800}


def start_chromium(playwright: Playwright, home: Path, authority: Path | None) -> Browser:
    """Debian's chromium; without its sandbox, which root cannot use. No error of a certificate is ignored."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    host("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    if authority is not None:
        # As somebody does who follows the trust page.
        host("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "family", "-i", authority)
    return playwright.chromium.launch(
        executable_path="/usr/bin/chromium",
        args=ARGUMENTS,
        chromium_sandbox=False,
        env={**os.environ, "HOME": str(home)},
    )


def portal(machine: Machine) -> str:
    """Where the portal of a machine is, without a slash at the end."""
    return f"https://{machine.ip}:8000"


def log_in(page: Page, machine: Machine, name: str, then: str = "/hub/home", password: str = PASSWORD) -> None:
    """Open the login page, fill it in and send it."""
    page.goto(f"{portal(machine)}/hub/login?next={then}")
    page.fill("input[name=username]", name)
    page.fill("input[name=password]", password)
    page.click("#login_submit")


@dataclass
class Loaded:
    """What opening JupyterLab took."""

    #: Until the launcher is drawn.
    seconds: float = 0.0
    #: Bytes that came over the network with their headers, of each address; nothing of what a cache had.
    urls: dict[str, int] = field(default_factory=dict)
    #: How each answer was compressed, "" for not at all.
    encodings: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.urls.values())


def open_jupyterlab(page: Page, machine: Machine, name: str, cold: bool = True, megabits: float = 0) -> Loaded:
    """Open a running server's JupyterLab, in a browser that has nothing of it (cold) or what it has kept.

    With `megabits` chromium itself slows its network down to so many a second, with 5 ms for each way.
    """
    return measure_page(page, f"{portal(machine)}/user/{name}/lab", cold=cold, megabits=megabits)


def measure_page(page: Page, url: str, cold: bool = True, megabits: float = 0, settle: float = 2000) -> Loaded:
    """The same of any JupyterLab's address; `settle` milliseconds for what it loads after the launcher."""
    page.goto("about:blank")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    if cold:
        devtools.send("Network.clearBrowserCache")
    if megabits:
        speed = megabits * 125_000
        shape = {"offline": False, "latency": 5, "downloadThroughput": speed, "uploadThroughput": speed}
        devtools.send("Network.emulateNetworkConditions", shape)
    answers: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    devtools.on("Network.responseReceived", lambda event: answers.update({event["requestId"]: event["response"]}))
    devtools.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: int(e["encodedDataLength"])}))
    began = time.monotonic()
    page.goto(url, wait_until="commit")
    expect(page.locator(".jp-LauncherCard").first).to_be_visible(timeout=LATER)
    loaded = Loaded(seconds=time.monotonic() - began)
    page.wait_for_timeout(settle)
    devtools.detach()
    for request, answer in answers.items():
        headers = {key.lower(): value for key, value in answer["headers"].items()}
        loaded.encodings[answer["url"]] = headers.get("content-encoding", "")
        if not answer.get("fromDiskCache"):
            loaded.urls[answer["url"]] = loaded.urls.get(answer["url"], 0) + sizes.get(request, 0)
    return loaded


def run_a_cell(page: Page, code: str, expected: str) -> None:
    """Open a notebook from the launcher, run `code` in its first cell, and see that `expected` comes out."""
    page.click(".jp-LauncherCard[data-category=Notebook]", timeout=LATER)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.wait_for(timeout=LATER)
    # A cell that is run before the kernel is there may be forgotten by the page.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=LATER)
    cell.click()
    # At once, as from the clipboard: typed, the editor would add brackets and propose words.
    page.keyboard.insert_text(code)
    expect(cell).to_have_text(code, timeout=SOON)
    output = page.locator(".jp-OutputArea-output").first
    # Again, as a person would, if JupyterLab has forgotten it, as it may in a kernel's first moments.
    for _ in range(6):
        cell.click()
        page.keyboard.press("Shift+Enter")
        with contextlib.suppress(TimeoutError):
            output.wait_for(timeout=20_000)
            break
    expect(output).to_contain_text(expected, timeout=SOON)


def picture(page: Page, name: str) -> None:
    """Take a picture of the page, for people to look at; docs/pictures holds copies of some."""
    directory = RUN / "pictures"
    directory.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(directory / f"{name}.png"), full_page=True)


def in_german(text: str) -> str:
    """What the German catalogue has for a sentence; itself if it has nothing (`./test lint` finds that)."""
    with open(ROOT / "locale/de/LC_MESSAGES/jupyterhub4family.po", "rb") as file:
        message = read_po(file).get(text)
    return str(message.string) if message and message.string else text


class Watcher:
    """Watches a page for errors of its scripts, and for anything that it loads from elsewhere."""

    def __init__(self, page: Page, machine: Machine) -> None:
        self.errors: list[str] = []
        self.outside: list[str] = []
        self._ours = (f"https://{machine.ip}:8000/", f"http://{machine.ip}:8000/", "data:", "blob:")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._look)

    def _look(self, request: Any) -> None:
        if not request.url.startswith(self._ours):
            self.outside.append(request.url)

    def check(self) -> None:
        """Fail the test if there was anything of that."""
        assert self.errors == []
        assert self.outside == [], "nothing is loaded from outside"


def expect_good(page: Page, name: str) -> None:
    """What holds for each page: axe-core finds nothing, it is not wider than the screen, it tells its language.

    Pictures are taken in light and dark.
    """
    for scheme in ("light", "dark"):
        # Without motion: axe would else measure colours on their way from light to dark.
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", scheme)
        width = page.viewport_size["width"] if page.viewport_size else 0
        picture(page, f"{name}-{width}-{scheme}")
        found = Axe().run(page).response["violations"]
        reported = [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]
        assert reported == [], f"{name}, {width} px, {scheme}"
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{name} is {too_wide} px wider than the screen of {width} px"
