"""The gate before members' servers, in a real chromium: Ben's server is a program that attacks whoever looks at it.

Nothing that his program sends may become a page, a frame, a script or a worker in Anna's browser, or in a delegate's;
what she does herself goes on as before (docs/adr/0023-the-gate.md).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect

from tests.browser.lib import LATER, ROOT, SOON, log_in, portal, start_chromium
from tests.machine.lib.family import authority, logged_in, shared_machine
from tests.machine.lib.machine import Machine

pytestmark = pytest.mark.any_debian

#: Takes the place of Ben's jupyterhub-singleuser. It notes what reaches it, and sends whatever its viewer asks for.
HOSTILE = r'''
import http.server, json, os, urllib.parse
url = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
PAGE = b"""<!doctype html><title>BEN</title><body>This is Ben.<script>
document.cookie = "jupyterhub4family-gate=tossed; Path=/user/anna/; Secure";
window.loot = "mine";
</script>"""
WORKER = b"""self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(clients.claim()));
self.addEventListener("fetch", (event) => event.respondWith(
  new Response("<!doctype html><title>BEN WORKER</title>", { headers: { "Content-Type": "text/html" } })));"""
KINDS = {"js": "text/javascript", "css": "text/css", "png": "image/png", "svg": "image/svg+xml", "vtt": "text/vtt"}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("utf-8", "replace")
        with open(os.path.expanduser("~/seen"), "a") as seen:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.write(json.dumps([self.command, self.path, headers, body]) + "\n")
        name = path.rpartition("/")[2]
        text = WORKER if name == "worker.js" else b"window.loot = 1" if name.endswith(".js") else PAGE
        self.send_response(302 if name == "redirect" else 200)
        if name == "redirect":
            self.send_header("Location", urllib.parse.unquote(query))
        kind = urllib.parse.unquote(query) if name == "typed" else KINDS.get(name.rpartition(".")[2], "text/html")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "public, max-age=31536000, immutable")
        self.send_header("Service-Worker-Allowed", "/")
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        self.send_header("Set-Cookie", "jupyterhub4family-gate=x; Path=/; Secure")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = do_DELETE = answer
    def log_message(self, *_more): pass
class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address = daemon_threads = True
    def handle_error(self, *_more): pass
Server((url.hostname, url.port), Handler).serve_forever()
'''
#: Ben's own page on a port of his own, which anybody may open: another origin, of the same machine.
OUTSIDE = 9999
#: From a page, everything that could bring something of Ben's into the browser, and what came of it.
EVERYTHING = """
async (base) => {
  const target = `${base}/user/ben/evil`;
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const read = [];
  for (const mode of ["cors", "no-cors", "same-origin"]) {
    for (const credentials of ["include", "same-origin", "omit"]) {
      for (const method of ["GET", "HEAD", "POST"]) {
        for (const headers of [{}, { Range: "bytes=0-3" }, { Accept: "text/html" }]) {
          try {
            const options = { mode, credentials, method, headers, cache: "no-store" };
            const answer = await fetch(`${target}?fetch-${mode}`, options);
            const text = await answer.text();
            if (text.includes("Ben")) read.push([mode, credentials, method, text]);
          } catch (error) {}
        }
      }
    }
  }
  const elements = {
    iframe: "src", frame: "src", object: "data", embed: "src", img: "src", script: "src", video: "src", audio: "src",
    source: "src", track: "src", input: "src", image: "href", portal: "src", fencedframe: "src",
  };
  for (const [tag, attribute] of Object.entries(elements)) {
    const element = document.createElement(tag);
    if (tag === "input") element.type = "image";
    element.setAttribute(attribute, `${target}?${tag}`);
    document.body.append(element);
  }
  for (const [rel, as] of [["stylesheet"], ["prefetch"], ["prefetch", "document"], ["preload", "script"],
    ["preload", "fetch"], ["modulepreload"], ["prerender"], ["icon"], ["manifest"], ["preconnect"]]) {
    const link = document.createElement("link");
    Object.assign(link, { rel, href: `${target}?link-${rel}` });
    if (as) link.as = as;
    document.head.append(link);
  }
  const frame = document.createElement("iframe");
  frame.name = "frame";
  document.body.append(frame);
  for (const method of ["get", "post"]) {
    const form = document.createElement("form");
    Object.assign(form, { method, action: `${target}?form-${method}`, target: "frame" });
    document.body.append(form);
    form.submit();
    await wait(100);
  }
  const refresh = document.createElement("iframe");
  refresh.srcdoc = `<meta http-equiv="refresh" content="0;url=${target}?refresh">`;
  document.body.append(refresh);
  navigator.sendBeacon(`${target}?beacon`, "x");
  const open = [];
  for (const make of [() => new EventSource(`${target}?events`), () => new WebSocket(target.replace("http", "ws")),
    () => new Worker(`${target}.js?worker`), () => new SharedWorker(`${target}.js?sharedworker`)]) {
    try {
      const one = make();
      one.onopen = () => open.push(one.url);
      one.onmessage = () => open.push("message");
    } catch (error) {}
  }
  try {
    await navigator.serviceWorker.register("/user/ben/worker.js", { scope: "/user/ben/" });
    open.push("worker");
  } catch (error) {}
  try {
    await import(`${target}.js?import`);
    open.push("import");
  } catch (error) {}
  await wait(1500);
  const shown = [...document.querySelectorAll("iframe,frame,object,embed")].map((one) => {
    try { return one.contentDocument.body.innerText; } catch (error) { return ""; }
  });
  return { read, open, loot: window.loot || null, shown: shown.filter((text) => text.includes("Ben")) };
}
"""
WAYS_TO_BEN = (
    *("/user/ben/", "/user/ben", "/user/ben/evil?x=1#y", "/user/ben/redirect?/hub/home", "/user/%62en/evil"),
    *("/user/ben/../ben/evil", "/user//ben/evil", "/user/ben//evil", "/user/ben%2fevil", "/user/ben/worker.js"),
)
NOTHING: dict[str, Any] = {"read": [], "open": [], "loot": None, "shown": []}


class House:
    """A machine with Anna, a delegate, and Ben, whose server is the program above."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.base = portal(machine)

    def seen(self) -> list[Any]:
        """What browsers have asked of Ben's program (the hub asks, too, whether it lives)."""
        lines = self.machine.execute("cat /home/ben/seen").stdout.splitlines()
        return [one for one in map(json.loads, lines) if "Mozilla" in one[2].get("user-agent", "")]

    def forget(self) -> None:
        self.machine.run("rm -f /home/ben/seen")


@pytest.fixture(scope="module")
def house(suite: str) -> Iterator[House]:
    with shared_machine(suite, "anna", "ben", "dora") as machine:
        machine.run("gpasswd -a dora jupyterhub_adm >/dev/null")
        machine.write("/usr/local/share/hostile.py", HOSTILE)
        with logged_in(machine, "ben") as ben:
            ben.start_server()
            ben.stop_server()
            program = "/home/ben/.local/share/jupyterhub4family/env/bin/jupyterhub-singleuser"
            machine.run(f"rm {program} && cp /usr/local/share/hostile.py {program}", user="ben")
            ben.start_server()
            assert "This is Ben." in ben.get("/user/ben/").text, "the test itself: he sees it"
            assert House(machine).seen(), "and it notes who asks"
        with logged_in(machine, "anna") as anna:
            anna.start_server()
        machine.run("mkdir ~/outside; echo '<title>outside</title><body>' >~/outside/index.html", user="ben")
        outside = f"python3 -m http.server -d ~/outside {OUTSIDE}"
        machine.run(f"setsid {outside} >/dev/null 2>&1 </dev/null &", user="ben")
        machine.wait(f"ss -ltnH | grep -q :{OUTSIDE}")
        yield House(machine)
        machine.run("pkill -u ben -f http.server")


@pytest.fixture(scope="module")
def chromium(playwright: Playwright, house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = start_chromium(playwright, tmp_path_factory.mktemp("chromium"), authority(house.machine))
    yield browser
    browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that nobody has used."""
    with chromium.new_context(accept_downloads=True) as made:
        made.set_default_timeout(LATER)
        yield made


def title_at(page: Page, address: str) -> str:
    page.goto(address)
    return page.title()


@pytest.mark.parametrize("name", ["anna", "dora"])
def test_who_follows_a_link_to_ben_is_told_whose_server_it_is(house: House, context: BrowserContext, name: str) -> None:
    page = context.new_page()
    log_in(page, house.machine, name)
    page.wait_for_url("**/hub/home")
    house.forget()
    for path in WAYS_TO_BEN:
        answer = page.goto(f"{house.base}{path}")
        assert answer is not None and answer.status in (403, 404), path
        assert "This is Ben" not in page.content() and page.evaluate("window.loot || null") is None
        for cookie in context.cookies():
            assert not (cookie["name"] == "jupyterhub4family-gate" and "/ben" in cookie["path"])
    page.goto(f"{house.base}/user/ben/evil")
    expect(page.locator("#gate-closed")).to_contain_text("ben")
    assert house.seen() == []


@pytest.mark.parametrize("name", ["anna", "dora"])
@pytest.mark.parametrize("where", ["outside", "inside"])
def test_nothing_of_bens_gets_into_another_browser(
    house: House, context: BrowserContext, name: str, where: str
) -> None:
    """From a page of Ben's on a port of his own, and from one of the portal's own origin."""
    page = context.new_page()
    log_in(page, house.machine, name)
    page.wait_for_url("**/hub/home")
    inside = f"{house.base}/user/anna/lab" if name == "anna" else f"{house.base}/hub/home"
    page.goto(f"http://{house.machine.ip}:{OUTSIDE}/" if where == "outside" else inside)
    house.forget()
    assert page.evaluate(EVERYTHING, house.base) == NOTHING
    with context.expect_page() as opened:
        page.evaluate("(base) => { window.child = window.open(`${base}/user/ben/evil?open`, '_blank'); }", house.base)
    opened.value.wait_for_load_state()
    assert "This is Ben" not in opened.value.content() and opened.value.evaluate("window.loot || null") is None
    with context.expect_page() as posted:
        page.evaluate(
            """(base) => {
              const form = document.createElement("form");
              Object.assign(form, { method: "post", action: `${base}/user/ben/evil?post`, target: "_blank" });
              document.body.append(form);
              form.submit();
            }""",
            house.base,
        )
    posted.value.wait_for_load_state()
    assert "This is Ben" not in posted.value.content()
    page.evaluate("(base) => { location = `${base}/user/ben/evil?location`; }", house.base)
    page.wait_for_url("**/hub/gate**")
    assert house.seen() == [], "not one request has reached his program"


def test_no_script_reads_the_hubs_pages(house: House, context: BrowserContext) -> None:
    """Nor does a frame: in each of them stands what the API wants to hear. Errors are pages, too."""
    page = context.new_page()
    log_in(page, house.machine, "anna")
    page.wait_for_url("**/hub/home")
    page.goto(f"{house.base}/user/anna/lab")
    found = page.evaluate(
        """
        async (paths) => {
          const read = [];
          for (const path of paths) {
            for (const mode of ["cors", "no-cors", "same-origin"]) {
              for (const redirect of ["follow", "manual"]) {
                const answer = await fetch(path, { mode, redirect }).catch(() => null);
                const text = answer ? await answer.text().catch(() => "") : "";
                if (text.includes("<html") || text.includes("xsrf")) read.push([path, mode, redirect, text.length]);
              }
            }
            const request = new XMLHttpRequest();
            request.open("GET", path, false);
            request.setRequestHeader("Accept", "text/html");
            request.send();
            if (/<html|xsrf_token/.test(request.responseText)) read.push([path, "xhr"]);
            for (const tag of ["iframe", "object", "embed"]) {
              const frame = document.createElement(tag);
              frame[tag === "object" ? "data" : "src"] = path;
              document.body.append(frame);
              await new Promise((resolve) => setTimeout(resolve, 300));
              try { if (frame.contentDocument.body.innerText.length > 40) read.push([path, tag]); } catch (error) {}
              frame.remove();
            }
          }
          return read;
        }
        """,
        ["/hub/home", "/hub/token", "/hub/login", "/hub/spawn", "/hub/no-such-page", "/hub/gate?next=/user/ben/",
         "/hub/logo/../home", "/hub/error/503", "/hub/api/oauth2/authorize?client_id=x", "/hub/user/ben/"],
    )  # fmt: skip
    assert found == []
    made = page.evaluate(
        """() => fetch("/hub/api/users/anna/tokens", { method: "POST", body: "{}" }).then((answer) => answer.status)"""
    )
    assert made == 403
    assert page.evaluate("fetch('/hub/static/css/style.min.css', {mode: 'no-cors'}).then((one) => one.status)") == 200


def test_what_ben_leaves_in_a_browser_is_gone_when_anna_logs_in(house: House, context: BrowserContext) -> None:
    """A worker, a page in the browser's memory, cookies, things stored: he may have used it before her."""
    page = context.new_page()
    log_in(page, house.machine, "ben", then="/user/ben/left")
    page.wait_for_url("**/user/ben/left")
    assert page.title() == "BEN"
    page.evaluate("""async () => {
      localStorage.setItem("ben", "was here");
      await fetch("/user/ben/kept");
      for (const path of ["/", "/user/", "/user/anna/", "/user/anna/lab", "/hub/"]) {
        document.cookie = `__Host-jupyterhub4family-browser=x; Secure; Path=${path}`;
        document.cookie = `jupyterhub4family-gate=x.y; Secure; Path=${path}`;
      }
      await navigator.serviceWorker.register("/user/ben/worker.js");
      await navigator.serviceWorker.ready;
    }""")
    assert title_at(page, f"{house.base}/user/ben/anything") == "BEN WORKER", (
        "the test itself: his worker works for him"
    )
    # Whether he logs out, or is forgotten by the hub: she is the next.
    context.clear_cookies(name="jupyterhub-hub-login")
    log_in(page, house.machine, "anna")
    page.wait_for_url("**/hub/home")
    assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
    assert page.evaluate("localStorage.getItem('ben')") is None
    house.forget()
    for path in ("left", "kept", "anything"):
        title_at(page, f"{house.base}/user/ben/{path}")
        expect(page.locator("#gate-closed")).to_be_visible(timeout=SOON)
    assert house.seen() == []
    page.goto(f"{house.base}/user/anna/lab")
    expect(page.locator("#jp-top-panel, #jp-main-dock-panel").first).to_be_visible(timeout=LATER)
    page.goto(f"{house.base}/hub/logout")
    assert page.evaluate("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0


@pytest.mark.parametrize("content_type", ["text/plain; x=y, text/html", "text/plain;,text/html"])
def test_a_page_that_says_to_be_none_is_not_kept_either(
    house: House, context: BrowserContext, content_type: str
) -> None:
    """Of several types browsers take the last."""
    page = context.new_page()
    log_in(page, house.machine, "ben")
    page.wait_for_url("**/hub/home")
    address = f"{house.base}/user/ben/typed?{quote(content_type)}"
    assert title_at(page, address) == "BEN", "the test itself: it is a page"
    context.clear_cookies(name="jupyterhub-hub-login")
    log_in(page, house.machine, "anna")
    page.wait_for_url("**/hub/home")
    house.forget()
    page.goto(address)
    expect(page.locator("#gate-closed")).to_be_visible(timeout=SOON)
    assert page.title() != "BEN" and house.seen() == []


def test_annas_pass_is_no_good_elsewhere(house: House, context: BrowserContext, chromium: Browser) -> None:
    """Ben plants his own cookies in her browser, by a page on his own port: another login's pass is none."""
    with chromium.new_context() as bens:
        page = bens.new_page()
        log_in(page, house.machine, "ben")
        page.wait_for_url("**/hub/home")
        planted = [
            one
            for one in bens.cookies()
            if one["name"].startswith(("jupyterhub4family", "__Host-", "jupyterhub-session"))
        ]
    assert {one["name"] for one in planted} == {
        "jupyterhub4family-gate",
        "__Host-jupyterhub4family-browser",
        "__Host-jupyterhub4family-device",
        "jupyterhub-session-id",
    }
    page = context.new_page()
    page.goto(f"http://{house.machine.ip}:{OUTSIDE}/")
    for path in ("/", "/user/ben/", "/hub/"):
        page.evaluate(
            "([all, path]) => all.forEach((one) => { document.cookie = `${one.name}=${one.value}; Path=${path}`; })",
            [planted, path],
        )
    assert any(one["name"] == "jupyterhub-session-id" for one in context.cookies()), (
        "the test itself: it can be planted"
    )
    log_in(page, house.machine, "anna")
    page.wait_for_url("**/hub/home")
    house.forget()
    page.goto(f"{house.base}/user/ben/evil")
    assert "This is Ben" not in page.content()
    assert house.seen() == []


def test_a_share_is_given_used_and_withdrawn(house: House, context: BrowserContext) -> None:
    """As docs/howto/share.md tells it."""
    howto = (ROOT / "docs/howto/share.md").read_text("utf-8")
    give, withdraw, _unused = [line for line in howto.splitlines() if line.startswith("curl ")]
    pid = house.machine.run("pgrep -u ben -f bin/jupyterhub-singleuser").split()[0]
    environ = house.machine.run(f"cat /proc/{pid}/environ").split("\0")
    variables = " ".join(f"{line};" for line in environ if line.startswith("JUPYTERHUB_") and ";" not in line)

    def in_his_terminal(command: str) -> str:
        return house.machine.run(f"{variables} {command}", user="ben")

    page = context.new_page()
    log_in(page, house.machine, "anna")
    page.wait_for_url("**/hub/home")
    link = json.loads(in_his_terminal(give))["accept_url"]
    page.goto(house.base + link)
    expect(page.locator("#accept-share")).to_contain_text("it can do in the portal what you can")
    page.click("#accept-share button[type=submit]")
    page.wait_for_url("**/hub/gate**")
    expect(page.locator("#gate-shared")).to_contain_text("it can do in the portal what you can")
    house.forget()
    page.click("#gate-shared button[type=submit]")
    page.wait_for_url("**/user/ben/")
    assert page.title() == "BEN"
    heard = house.seen()[-1][2]["cookie"]
    assert "jupyterhub-session-id=" in heard and "jupyterhub4family" not in heard, "his program gets no pass to keep"
    refused = page.evaluate(
        "navigator.serviceWorker.register('/user/ben/worker.js').then(() => 'left', () => 'refused')"
    )
    assert refused == "refused", "a viewer takes no worker home"
    in_his_terminal(withdraw)
    until = time.monotonic() + 75
    while title_at(page, f"{house.base}/user/ben/again") == "BEN":
        assert time.monotonic() < until, "a share that was withdrawn ends within a minute"
        time.sleep(2)
    expect(page.locator("#gate-closed")).to_be_visible(timeout=SOON)


def test_deep_links_cost_no_detour(house: House, context: BrowserContext) -> None:
    page = context.new_page()
    passed: list[str] = []
    page.on("request", lambda one: passed.append(one.url) if one.is_navigation_request() else None)
    # Logged out: one stop at the gate, the login, and there. Over JupyterHub's own OAuth pages, as ever.
    page.goto(f"{house.base}/user/anna/lab/tree/x.txt?reset")
    page.fill("input[name=username]", "anna")
    page.fill("input[name=password]", "correct horse 7")
    page.click("#login_submit")
    page.wait_for_url("**/user/anna/lab/tree/x.txt**")
    assert sum("/hub/gate" in one for one in passed) == 1
    passed.clear()
    for path in ("/user/anna/lab", "/hub/user-redirect/lab/tree/x.txt", "/user/anna/tree", "/"):
        page.goto(house.base + path)
        page.wait_for_url("**/user/anna/**")
    assert not any("/hub/gate" in one for one in passed), passed


def test_an_open_page_goes_on_without_its_pass(house: House, context: BrowserContext) -> None:
    """As after an upgrade from a version without the gate: nothing breaks, and a reload brings one."""
    page = context.new_page()
    log_in(page, house.machine, "anna", then="/user/anna/lab")
    page.wait_for_url("**/user/anna/lab**")
    context.clear_cookies(name="jupyterhub4family-gate")
    # As JupyterLab asks, with the token of its own pages.
    asked = """() => fetch("/user/anna/api/contents?content=0", {
      cache: "no-store",
      headers: { "X-XSRFToken": document.cookie.split("; ").find((one) => one.startsWith("_xsrf=")).slice(6) },
    }).then((one) => one.status)"""
    assert page.evaluate(asked) == 200
    opened = """() => new Promise((resolve) => {
      const socket = new WebSocket(`wss://${location.host}/user/anna/api/events/subscribe`);
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve("refused");
    })"""
    assert page.evaluate(opened) == "open"
    page.reload()
    assert any(one["name"] == "jupyterhub4family-gate" and one["path"] == "/user/anna/" for one in context.cookies())
    # Logged out in another window: nothing any more, at once.
    other = context.new_page()
    other.goto(f"{house.base}/hub/logout")
    assert page.evaluate(asked) == 403 and page.evaluate(opened) == "refused"
    page.reload()
    expect(page.locator("input[name=username]")).to_be_visible(timeout=SOON)
