"""JupyterLab in Debian's chromium: its first page over a slow network, and what an hour of use leaves in memory."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, Playwright, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from bench import cpu, measure
from bench.book import Book
from bench.link import Link, slow_link
from bench.scenes import Stage, taking_turns
from bench.stacks import FLOOR, OURS, PASSWORD, start_until_lab
from tests.browser.lib import ARGUMENTS
from tests.machine.lib.client import Browser
from tests.machine.lib.family import authority
from tests.machine.lib.places import host

#: Milliseconds.
_PATIENCE = 180_000
#: Seconds after which a page has loaded what it wants, and a person has typed name and password.
LATER, TYPING = 4.0, 5.0
LAUNCHER = ".jp-LauncherCard"

#: What a member does in an hour: openings of the notebook, and cells that a kernel computes beside them.
OPENINGS, CELLS = 20, 100
#: Seconds of rest after it.
AFTERWARDS = 60.0
_NOTEBOOK = "bench.ipynb"
_CELL = "sum(range(1000)) / 3"
_PROMPT = ".jp-Notebook .jp-CodeCell .jp-InputPrompt"
_HAS_COUNTED = f"""before => {{
    const now = document.querySelector("{_PROMPT}")?.textContent ?? "";
    return /\\[\\d+\\]/.test(now) && now !== before;
}}"""
_ATTEMPTS = 6


@dataclass
class Seat:
    """A member in front of a chromium of their own."""

    here: Stage
    member: str
    window: Browser
    """The same member in the browser without a screen, which starts and stops servers."""
    chromium: Chromium

    def lab(self) -> str:
        """Where their JupyterLab is."""
        return f"{self.here.address}/user/{self.member}/lab"

    @contextmanager
    def new_device(self) -> Iterator[BrowserContext]:
        """A browser that has never been here: no cookies, an empty cache."""
        context = self.chromium.new_context(viewport={"width": 1280, "height": 800})
        context.set_default_timeout(_PATIENCE)
        try:
            yield context
        finally:
            context.close()


@contextmanager
def seats(stages: list[Stage], links: dict[str, Link] | None = None) -> Iterator[list[Seat]]:
    """For each stack a chromium, in the network of its link if there is one; their servers have run once."""
    with ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        found = []
        for here in stages:
            (member,) = here.stack.family(here.machine, 1)
            window = stack.enter_context(here.browser(member))
            start_until_lab(window)
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-chromium-")))
            link = links[here.stack.name] if links else None
            chromium = _start_chromium(playwright, home, authority(here.machine), link)
            stack.callback(chromium.close)
            found.append(Seat(here, member, window, chromium))
        yield found


def _start_chromium(playwright: Playwright, home: Path, ca: Path | None, link: Link | None) -> Chromium:
    """It trusts the machine's authority: what comes with a certificate that it does not trust it would not cache."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    host("certutil", "-d", f"sql:{store}", "-N", "--empty-password")
    if ca is not None:
        host("certutil", "-d", f"sql:{store}", "-A", "-t", "C,,", "-n", "bench", "-i", ca)
    program = home / "chromium"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(link.prefix if link else [])} /usr/bin/chromium "$@"\n')
    program.chmod(0o755)
    return playwright.chromium.launch(
        executable_path=program, args=ARGUMENTS, chromium_sandbox=False, env={**os.environ, "HOME": str(home)}
    )


# -- the first page -----------------------------------------------------------------------------------------------


def first_page(book: Book, stages: list[Stage], repeats: int) -> None:
    """Open JupyterLab over a slow network: of a running server, and as somebody who comes with a new device."""
    with ExitStack() as stack:
        links = {here.stack.name: stack.enter_context(slow_link(here.machine)) for here in stages}
        all_seats = {seat.here.stack.name: seat for seat in stack.enter_context(seats(stages, links))}
        for here in taking_turns(stages, repeats):
            seat, link = all_seats[here.stack.name], links[here.stack.name]
            _cold_and_warm(book, seat, link)
            seat.window.stop_server()
            _visit(book, seat, link)


def _cold_and_warm(book: Book, seat: Seat, link: Link) -> None:
    name = seat.here.stack.name
    with seat.new_device() as device:
        page = device.new_page()
        _log_in(page, seat)
        # The login page may have brought something along already; nothing of that counts here.
        _empty_cache(page)
        received = link.received()
        book.note("page_cold", name, _until_launcher(page, seat.lab()))
        time.sleep(LATER)
        book.note("page_bytes", name, (link.received() - received) / 1e6)
        warm = _until_launcher(page, seat.lab())
        book.note("page_warm", name, warm)
        if name == OURS:
            book.note("page_cold", FLOOR, warm)


def _visit(book: Book, seat: Seat, link: Link) -> None:
    name, meter = seat.here.stack.name, cpu.Meter(seat.here.machine)
    with seat.new_device() as device:
        page = device.new_page()
        cpu.watch(meter)
        received = link.received()
        page.goto(seat.here.address)
        time.sleep(TYPING)
        began = time.monotonic()
        _send_password(page, seat.member)
        page.wait_for_selector(LAUNCHER)
        book.note("visit", name, time.monotonic() - began)
        time.sleep(LATER)
        book.note("visit_cpu", name, meter.used())
        book.note("visit_bytes", name, (link.received() - received) / 1e6)


def _log_in(page: Page, seat: Seat) -> None:
    page.goto(f"{seat.here.address}/hub/login?next=/hub/home")
    _send_password(page, seat.member)
    page.wait_for_url(lambda url: "/hub/login" not in url)


def _send_password(page: Page, member: str) -> None:
    page.fill("input[name=username]", member)
    page.fill("input[name=password]", PASSWORD)
    page.click("#login_submit", no_wait_after=True)


def _empty_cache(page: Page) -> None:
    page.goto("about:blank")
    session = page.context.new_cdp_session(page)
    session.send("Network.clearBrowserCache")
    session.detach()


def _until_launcher(page: Page, address: str) -> float:
    page.goto("about:blank")
    began = time.monotonic()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(LAUNCHER)
    return time.monotonic() - began


# -- an hour of use -----------------------------------------------------------------------------------------------


def used(
    book: Book, stages: list[Stage], repeats: int, openings: int = OPENINGS, afterwards: float = AFTERWARDS
) -> None:
    """What stays in a server's memory after a member has worked with it."""
    with seats(stages) as all_seats:
        by_name = {seat.here.stack.name: seat for seat in all_seats}
        for here in taking_turns(stages, repeats):
            seat = by_name[here.stack.name]
            # A server of its own for each repeat: what it has learned is what is measured.
            seat.window.stop_server()
            start_until_lab(seat.window)
            _work(seat, openings)
            time.sleep(afterwards)
            book.note("server_memory_used", here.stack.name, measure.server_mb(here.machine, here.stack, [seat.member]))


def _work(seat: Seat, openings: int) -> None:
    home = f"/user/{seat.member}/"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "source": _CELL,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernelspec}, "nbformat": 4, "nbformat_minor": 4}
    body = {"type": "notebook", "format": "json", "content": notebook}
    seat.window.fetch("PUT", f"{home}api/contents/{_NOTEBOOK}", body).expect()
    with seat.new_device() as device:
        page = device.new_page()
        # Whoever leaves a page may be asked whether they mean it.
        page.on("dialog", lambda dialog: dialog.accept())
        # JupyterLab may ask which kernel, with the right one chosen: on a busy computer it does not find out in time.
        accepts = page.locator(".jp-Dialog .jp-mod-accept")
        page.add_locator_handler(accepts, accepts.click)
        _log_in(page, seat)
        for _ in range(openings):
            _run_and_save(page, f"{seat.lab()}/tree/{_NOTEBOOK}")
        page.goto("about:blank")
    kernel = seat.window.kernel()
    for _ in range(CELLS):
        kernel.execute(_CELL)
    kernel.close()
    for running in seat.window.fetch("GET", f"{home}api/kernels").expect().json():
        seat.window.fetch("DELETE", f"{home}api/kernels/{running['id']}").expect()


def _click_cell(page: Page) -> None:
    try:
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    except PlaywrightTimeout as error:
        raise RuntimeError(f"in the way: {page.locator('.jp-Dialog').all_inner_texts()}") from error


def _run_and_save(page: Page, address: str) -> None:
    """Open the notebook, run its cell, save."""
    page.goto(address)
    # Before the kernel is connected a cell would be sent to nobody.
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
    counted = page.locator(_PROMPT).first.text_content()
    for attempt in range(_ATTEMPTS):
        _click_cell(page)
        page.keyboard.press("Control+Enter")
        try:
            # The kernel lives on from one opening to the next, so it counts further each time.
            page.wait_for_function(_HAS_COUNTED, arg=counted, timeout=_PATIENCE / _ATTEMPTS)
            break
        except PlaywrightTimeout:
            # JupyterLab may forget a cell in a kernel's first moments; a person would try again.
            if attempt == _ATTEMPTS - 1:
                raise
    page.keyboard.press("Control+s")
    page.wait_for_selector(".jp-mod-dirty", state="detached")
