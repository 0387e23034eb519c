"""JupyterLab's first page in a real chromium: how much comes over the network, and that it works."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewChromium
from tests.browser.lib import LATER, ROOT, Loaded, log_in, open_jupyterlab, run_a_cell
from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

#: Of the 5.3 MB that it takes uncompressed (docs/adr/0030-first-page.md).
MOST = 1_600_000
LISTS = ROOT / "data/usr/share/jupyterhub4family/first-page.json"
TEMPLATE = "/var/lib/jupyterhub4family/templates/current"


def _compressed(machine: Machine) -> None:
    """Wait until the proxy has compressed the template's files."""
    machine.wait(f"test -e {TEMPLATE}/compressed/index.json", timeout=180)


def _own_files(loaded: Loaded) -> list[str]:
    """JupyterLab's own scripts, as the list has them."""
    found = [url.partition("/static/lab/")[2] for url in loaded.urls if "/static/lab/" in url]
    return sorted(name for name in found if ".js?v=" in name)


def _of_extensions(loaded: Loaded) -> list[list[str]]:
    """For each extension what its first script is called, and what that one asked for, as the lists have it."""
    found: dict[str, list[str]] = {}
    for url in loaded.urls:
        directory, _, name = url.partition("/lab/extensions/")[2].rpartition("/")
        if name.startswith("remoteEntry."):
            found.setdefault(directory, []).insert(0, f"{directory}/{name}")
        elif ".js?v=" in name:
            found.setdefault(directory, []).append(name)
    return [[names[0], *sorted(names[1:])] for names in found.values()]


#: For each script when it was asked for, when all of it was there, and how often it came, by its name without hashes.
_WHEN = """() => {
    const when = {};
    for (const { name, startTime, responseEnd } of performance.getEntriesByType("resource")) {
        const [script] = name.split("/").at(-1).split(".");
        const times = when[script]?.times ?? 0;
        when[script] = { asked: startTime, there: responseEnd, times: times + 1 };
    }
    return when;
}"""


@pytest.mark.every_debian
def test_a_first_page_is_small_and_works(new_machine: NewMachine, new_chromium: NewChromium, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "anna")
    _compressed(machine)
    with logged_in(machine, "anna") as anna:
        anna.start_server()
    page = new_chromium(machine).new_page()
    log_in(page, machine, "anna", then="/user/anna/lab/tree")
    expect(page.locator(".jp-LauncherCard").first).to_be_visible(timeout=LATER)
    loaded = open_jupyterlab(page, machine, "anna")
    assert loaded.bytes <= MOST, sorted(loaded.urls.items(), key=lambda one: -one[1])[:20]
    core = next(coding for url, coding in loaded.encodings.items() if "/static/lab/jlab_core." in url)
    assert core == "br"
    assert not [url for url, coding in loaded.encodings.items() if "/api/settings" in url and coding]
    # What is fetched while a server starts is what a first page needs: else the list is out of date.
    names = _own_files(loaded)
    lists: list[list[str]] = json.loads(LISTS.read_text())
    shipped = next((one for one in lists if one[0] in names), [])
    assert sorted(shipped) == names, f"write this into {LISTS.name}, main.… first"
    for extension in _of_extensions(loaded):
        assert extension in lists, f"this belongs into {LISTS.name}"
    # With the page the browser was told of them: it has asked for all before the first one could say what it needs.
    when = page.evaluate(_WHEN)
    early = ("jlab_core", names[0].partition(".")[0], "remoteEntry")
    assert all(when[one]["asked"] < when["main"]["there"] for one in early), when
    assert when["jlab_core"]["times"] == 1, "the largest file came twice"
    run_a_cell(page, "6 * 7", "42")
    # JupyterLab ends a kernel that is still starting, if another one is chosen for the notebook.
    machine.expect_log("KeyboardInterrupt")


@pytest.mark.any_debian
def test_files_are_fetched_while_the_server_starts(
    new_machine: NewMachine, new_chromium: NewChromium, suite: str
) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "anna")
    with logged_in(machine, "anna") as anna:
        anna.start_server()
        _compressed(machine)
        anna.stop_server()
    page = new_chromium(machine).new_page()
    prefetched: list[Any] = []
    page.on("requestfinished", lambda one: prefetched.append(one) if "/static/lab/" in one.url else None)
    log_in(page, machine, "anna", then="/hub/spawn/anna")
    expect(page.locator(".jp-LauncherCard").first).to_be_visible(timeout=LATER)
    before = [one for one in prefetched if "/hub/spawn" in (one.headers.get("referer") or "")]
    assert before, "the page that waits had nothing fetched"
    kept = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.includes('/static/lab/jlab_core')"
        " && one.transferSize === 0).length"
    )
    assert kept == 1, "the largest file came a second time"


@pytest.mark.any_debian
def test_a_member_with_another_jupyterlab_has_their_own(
    new_machine: NewMachine, new_chromium: NewChromium, suite: str
) -> None:
    """Their files have other names, or the same and another content: both come from their server."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "anna")
    _compressed(machine)
    with logged_in(machine, "anna") as anna:
        anna.start_server()
    static = "/home/anna/.local/share/jupyterhub4family/env/share/jupyter/lab/static"
    # As pip does it: another file in the place of the old one.
    machine.run(
        f"cd {static} && for file in jlab_core.*.js; do cp $file new && printf '\\nwindow.isHers = 1;' >> new && "
        "chown anna: new && mv -f new $file; done && for file in main.*.js; do "
        "sed 's/main\\.[0-9a-f]*\\.js?v=[0-9a-f]*/main.0123456789abcdef.js?v=0123456789abcdef/' index.html > new && "
        "chown anna: new && mv -f new index.html && mv $file main.0123456789abcdef.js; done"
    )
    page = new_chromium(machine).new_page()
    log_in(page, machine, "anna", then="/user/anna/lab")
    expect(page.locator(".jp-LauncherCard").first).to_be_visible(timeout=LATER)
    assert page.evaluate("window.isHers") == 1
    loaded = open_jupyterlab(page, machine, "anna")
    assert page.evaluate("window.isHers") == 1
    codings = {url.partition("/static/lab/")[2].partition(".")[0]: one for url, one in loaded.encodings.items()}
    assert (codings["main"], codings["jlab_core"]) == ("gzip", "gzip"), "compressed as they come"
    run_a_cell(page, "6 * 7", "42")
