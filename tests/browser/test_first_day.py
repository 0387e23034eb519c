"""A family's first day, in a real browser that trusts the machine's own authority and ignores no error."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewChromium
from tests.browser.lib import DESK, LATER, SOON, Watcher, log_in, picture, portal, run_a_cell
from tests.machine.lib.family import PASSWORD, add_member, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine


@pytest.mark.any_debian
def test_the_first_day(new_machine: NewMachine, new_chromium: NewChromium, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    # Not by `members add`, which would make the environment beforehand: this is a first start.
    machine.run("useradd -m -s /bin/bash -c 'Alice Miller' -G jupyterhub alice")
    machine.run("chpasswd", input=f"alice:{PASSWORD}\n")
    page = new_chromium(machine).new_context(viewport=DESK, locale="en-GB").new_page()
    watcher = Watcher(page, machine)
    page.on("dialog", lambda dialog: dialog.accept())
    # The second server's page opens the first one's notebook again; what a kernel says that is stopped while it starts.
    machine.expect_log("KeyboardInterrupt")

    log_in(page, machine, "alice", password="wrong")
    expect(page.locator(".login_error")).to_contain_text("Invalid", timeout=SOON)
    expect(page.locator("input[name=username]")).to_have_value("alice")
    log_in(page, machine, "alice", then="/hub/spawn")
    # The first start shows true progress while the environment is made, and then turns into JupyterLab.
    expect(page.locator("#progress-bar")).to_be_attached(timeout=SOON)
    picture(page, "first-start")
    page.wait_for_url(re.compile("/user/alice/lab"), timeout=LATER)
    _run_a_cell(page)
    picture(page, "notebook")

    # A second server with a name that no address can have.
    page.goto(f"{portal(machine)}/hub/home")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hello Alice Miller")
    page.locator(".more-servers summary").click()
    page.fill("#new-server-name", "Schule für Musik")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/user/alice/schule-fuer-musik/lab"), timeout=LATER)
    page.wait_for_selector(".jp-Launcher, .jp-Notebook", timeout=LATER)
    page.goto(f"{portal(machine)}/hub/home")
    named = page.locator('[data-server-name="schule-fuer-musik"]')
    expect(named).to_have_attribute("data-state", "running")
    # JupyterHub 5, the newest for Debian 11's Python, keeps no titles beside the names in addresses.
    title = "schule-fuer-musik" if suite == "bullseye" else "Schule für Musik"
    expect(named.get_by_role("heading")).to_have_text(title)
    expect(named).to_contain_text(re.compile(r"\d+ MB"))
    expect(named.locator(".environment-state")).to_have_text("Environment up to date")
    picture(page, "home")
    _make_newer_template(machine)
    page.reload()
    expect(named.locator(".environment-state")).to_contain_text("A newer environment is ready")

    page.click("#stop")
    expect(page.locator('[data-server-name=""]')).to_have_attribute("data-state", "stopped", timeout=LATER)
    assert machine.run("pgrep -u alice -fc bin/jupyterhub-singleuser").strip() == "1", "the named server lives on"
    named.locator(".stop-server").click()
    expect(named).to_have_attribute("data-state", "stopped", timeout=LATER)
    named.locator(".delete-server").click()
    expect(named).to_have_count(0, timeout=SOON)

    page.click("#logout")
    expect(page.locator("#login_submit")).to_be_visible(timeout=SOON)
    watcher.check()


def _make_newer_template(machine: Machine) -> None:
    templates = "/var/lib/jupyterhub4family/templates"
    machine.run(f"cd {templates} && cp -al $(readlink current) py3.13-newer && ln -sfn py3.13-newer current")


def _run_a_cell(page: Page) -> None:
    page.wait_for_selector(".jp-Launcher", timeout=LATER)
    run_a_cell(page, "sum(range(10))", "45")
    assert page.locator(".Toastify__toast").count() == 0, "nobody is asked whether they want Jupyter news"


@pytest.mark.any_debian
def test_stop_on_the_pending_page_stops_that_server(
    new_machine: NewMachine, new_chromium: NewChromium, suite: str
) -> None:
    """With the default server running, a named one is stopped while it starts: the default one lives on."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    page = new_chromium(machine).new_page()
    log_in(page, machine, "alice", then="/hub/spawn")
    page.wait_for_url(re.compile("/user/alice/lab"), timeout=LATER)
    # The named server is kept from listening, so that it stays on its way up.
    machine.run("mkdir -p ~/.jupyter", user="alice")
    machine.write("/home/alice/.jupyter/jupyter_server_config.py", "import time\ntime.sleep(60)\n")
    machine.expect_log("KeyboardInterrupt")  # what a server says that is stopped while it starts
    page.goto(f"{portal(machine)}/hub/spawn/alice/slow")
    page.click("#stop-server-btn", timeout=SOON)
    page.wait_for_url(re.compile("/hub/home"), timeout=LATER)
    machine.wait("[ $(pgrep -u alice -fc bin/jupyterhub-singleuser) = 1 ]", timeout=30)
    answer = page.goto(f"{portal(machine)}/user/alice/lab")
    assert answer is not None and answer.status == 200 and "/user/alice/lab" in page.url, "the default server lives on"
