"""proxy/gate.js: every combination of what a browser may say, and what each kind of pass opens."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.unit import javascript

NOW = 1_764_400_000
DAY = 86400
KEY = "0123456789abcdef" * 4
UIDS = {"anna": "1001", "ben": "1002"}
SESSION, OTHER_SESSION = "a" * 32, "b" * 32
ANNAS, BENS = "anna-browser.x", "ben-browser.y"

MODES = (None, "navigate", "no-cors", "cors", "same-origin", "websocket", "nested-navigate", "strange")
DESTINATIONS = (
    *(None, "document", "empty", "iframe", "frame", "object", "embed", "script", "style", "image", "audio", "font"),
    *(
        "worker",
        "sharedworker",
        "serviceworker",
        "audioworklet",
        "manifest",
        "report",
        "track",
        "xslt",
        "video",
        "json",
    ),
    *("websocket", "fencedframe", "webidentity", "strange"),
)
METHODS = ("GET", "HEAD", "POST", "PROPFIND")

_DECIDE = """
const gate = require("./gate.js");
const key = given.key;
const OLD = { viewerUid: 1001, ownerUid: 1002, issued: given.now, server: null };
const made = new Map();
const cookieOf = (one) => {
  const name = JSON.stringify(one);
  if (!made.has(name)) made.set(name, signed(one));
  return made.get(name);
};
const signed = (one) => typeof one === "string" ? one :
  `${gate.PASS_COOKIE}=${gate.sign({ ...OLD, ...one.pass }, one.browser, one.key || key)}`;
return given.requests.map(({ prefix, cookies, insecure, forwarded, ...request }) => {
  const headers = { host: "box:8000", ...request.headers };
  if (cookies) headers.cookie = cookies.map(cookieOf).join("; ");
  const isUidOf = (name, uid) => given.uids[name] === uid;
  const options = { key, isSecure: !insecure, isForwarded: Boolean(forwarded), isUidOf, now: given.now };
  return gate.decide({ method: "GET", url: "/user/ben/lab", isSocket: false, ...request, headers },
    gate.routeOf(prefix || "/user/ben"), options);
});
"""


def decide(requests: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the gate says to each of them."""
    given = {"requests": list(requests), "key": KEY, "now": NOW, "uids": UIDS}
    verdicts: list[dict[str, Any]] = javascript.run(_DECIDE, given)
    return verdicts


def verdict(**request: Any) -> str:
    """The one word of it."""
    (found,) = decide([request])
    return str(found["verdict"])


def browser(value: str, prefix: str = "__Host-") -> str:
    return f"{prefix}jupyterhub4family-browser={value}"


def given_pass(viewer: str, owner: str, in_browser: str, server: str | None = None, **more: Any) -> dict[str, Any]:
    """The cookie of a pass, as the hub signs it."""
    uids = {"viewerUid": int(UIDS[viewer]), "ownerUid": int(UIDS[owner])}
    key = more.pop("key", None)
    return {
        "pass": {"viewer": viewer, "owner": owner, "server": server, **uids, **more},
        "browser": in_browser,
        "key": key,
    }


def sec_fetch(mode: str | None, destination: str | None, **more: str) -> dict[str, str]:
    sent = {"sec-fetch-mode": mode, "sec-fetch-dest": destination}
    return {**{name: value for name, value in sent.items() if value is not None}, **more}


#: A document's own request, and that of a script of an open page.
VISIT = sec_fetch("navigate", "document")
SCRIPT = sec_fetch("cors", "empty", **{"sec-fetch-site": "same-origin"})
BENS_OWN = [browser(BENS), given_pass("ben", "ben", BENS)]
SHARED = [browser(ANNAS), given_pass("anna", "ben", ANNAS, "")]

EVERY_REQUEST: list[dict[str, Any]] = [
    {"method": method, "isSocket": is_socket, "headers": sec_fetch(mode, destination, **more)}
    for mode, destination, method, is_socket, more in itertools.product(
        MODES, DESTINATIONS, METHODS, (False, True), ({}, {"accept": "text/html,*/*"}, {"service-worker": "script"})
    )
]

#: What is in Anna's browser, or in one that Ben has used before: nothing of it lets her be shown his server.
NO_PASS: dict[str, list[Any]] = {
    "nothing": [],
    "logged in": [browser(ANNAS), given_pass("anna", "anna", ANNAS)],
    "Ben's pass, of his browser": [browser(ANNAS), given_pass("ben", "ben", BENS)],
    "Ben's pass and his browser's cookie beside hers": [browser(BENS), browser(ANNAS), given_pass("ben", "ben", BENS)],
    "without a browser's cookie": [given_pass("ben", "ben", "")],
    "another key": [browser(ANNAS), given_pass("anna", "ben", ANNAS, "", key="f" * 64)],
    "for another server": [browser(ANNAS), given_pass("anna", "ben", ANNAS, "school")],
    "for all servers of somebody else": [browser(ANNAS), given_pass("anna", "ben", ANNAS, None)],
    "too old": [browser(ANNAS), given_pass("anna", "ben", ANNAS, "", issued=NOW - 15 * DAY)],
    "of an account that was made again": [
        browser(ANNAS),
        {"pass": {"viewer": "ben", "owner": "ben", "ownerUid": 1009}, "browser": ANNAS},
    ],
    "nonsense": [
        browser(ANNAS),
        *(f"jupyterhub4family-gate={one}" for one in ("", "x", "..", "a.b", "a.b.c", '"', "W10.x")),
    ],
    "the name of plain HTTP": [browser(BENS, ""), given_pass("ben", "ben", BENS)],
    "her session": [f"jupyterhub-session-id={SESSION}", f"jupyterhub-session-id={OTHER_SESSION}", browser(ANNAS)],
}


@pytest.mark.parametrize("what", NO_PASS)
def test_without_a_pass_nothing_passes(what: str) -> None:
    """And only whoever opens an address in a window of its own is led to the hub."""
    requests = [{**one, "cookies": NO_PASS[what]} for one in EVERY_REQUEST]
    for request, found in zip(requests, decide(requests)):
        headers, method = request["headers"], request["method"]
        is_modern = bool(set(headers) & {"sec-fetch-mode", "sec-fetch-dest"})
        is_visit = (
            headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
            if is_modern
            else "text/html" in headers.get("accept", "")
        )
        is_led = is_visit and method in ("GET", "HEAD") and not request["isSocket"] and "service-worker" not in headers
        assert found["verdict"] == ("lead" if is_led else "refuse"), request


def test_the_owner_passes_whatever_is_asked() -> None:
    requests = [{**one, "cookies": BENS_OWN} for one in EVERY_REQUEST]
    assert {one["verdict"] for one in decide(requests)} == {"pass"}
    named = [{**one, "cookies": BENS_OWN, "prefix": "/user/ben/school"} for one in EVERY_REQUEST[:50]]
    assert {one["verdict"] for one in decide(named)} == {"pass"}, "all servers of theirs"


def test_a_server_that_is_shared_is_asked_for_and_leaves_no_worker() -> None:
    requests = [{**one, "cookies": SHARED} for one in EVERY_REQUEST]
    for request, found in zip(requests, decide(requests)):
        headers = request["headers"]
        if "service-worker" in headers or headers.get("sec-fetch-dest") == "serviceworker":
            assert found["verdict"] == "refuse"
        else:
            question = {"viewer": "anna", "uid": 1001, "owner": "ben", "server": ""}
            assert found["verdict"] == "ask" and found["question"] == question
            assert found["otherwise"]["verdict"] in ("lead", "refuse")
    assert verdict(headers=VISIT, cookies=SHARED, prefix="/user/ben/school") == "lead", "not what is not shared"


@pytest.mark.parametrize("authorization", ["token abc", "Bearer abc", "bearer abc"])
def test_a_token_opens_no_page(authorization: str) -> None:
    for one, found in zip(
        EVERY_REQUEST,
        decide({**one, "headers": {**one["headers"], "authorization": authorization}} for one in EVERY_REQUEST),
    ):
        headers = one["headers"]
        is_data = headers.get("sec-fetch-dest") in (None, "empty") and headers.get("sec-fetch-mode") not in (
            "navigate",
            "no-cors",
        )
        assert (found["verdict"] == "pass") is (is_data and "service-worker" not in headers), one


@pytest.mark.parametrize("authorization", ["Basic YTpi", "", "token", "token ", "Negotiate x", "Digest x", "tokens x"])
def test_nothing_else_is_a_token(authorization: str) -> None:
    assert verdict(headers={"authorization": authorization}) == "refuse"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"isSocket": True, "url": "/user/ben/api/kernels/1/channels?session_id=1&token=abc"}, "pass"),
        ({"isSocket": True, "url": "/user/ben/api/kernels/1/channels?token="}, "refuse"),
        ({"isSocket": True, "url": "/user/ben/x?token=abc", "headers": {"cookie": "a=b"}}, "refuse"),
        ({"isSocket": True, "url": "/user/ben/x?token=abc", "headers": {"sec-fetch-mode": "websocket"}}, "pass"),
        ({"isSocket": True, "url": "/user/ben/x?token=abc", "headers": {"sec-fetch-mode": "navigate"}}, "refuse"),
        ({"url": "/user/ben/api/kernels?token=abc"}, "refuse"),
        ({"url": "/user/ben/lab?token=abc", "headers": VISIT}, "lead"),
        ({"url": "/user/ben/lab?token=abc", "headers": {"accept": "text/html"}}, "lead"),
    ],
)
def test_a_token_in_an_address_is_for_programs_web_sockets(request_: dict[str, Any], expected: str) -> None:
    assert verdict(**request_) == expected


def test_a_page_that_has_been_open_for_long_goes_on_with_its_session() -> None:
    """Its scripts may ask for data if the hub knows the session as the owner's; no page is loaded like that."""
    session = [f"jupyterhub-session-id={SESSION}"]
    requests = [{**one, "cookies": session} for one in EVERY_REQUEST]
    asked = [request for request, found in zip(requests, decide(requests)) if found["verdict"] == "ask"]
    assert asked
    for request in asked:
        headers = request["headers"]
        assert "service-worker" not in headers
        if request["isSocket"]:
            assert headers.get("sec-fetch-mode") in (None, "websocket")
        else:
            # (With the site told, which these requests do not.)
            assert not headers or headers == {"service-worker": "script"}
    assert decide([{"headers": SCRIPT, "cookies": session}]) == [
        {"verdict": "ask", "question": {"session": SESSION, "owner": "ben"}, "otherwise": {"verdict": "refuse"}}
    ]
    for site in ("same-site", "cross-site", "none"):
        assert verdict(headers={**SCRIPT, "sec-fetch-site": site}, cookies=session) == "refuse"
    for strange in ("x", SESSION.upper(), SESSION + "a", "", "../../x"):
        assert verdict(headers=SCRIPT, cookies=[f"jupyterhub-session-id={strange}"]) == "refuse"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"headers": sec_fetch("no-cors", "empty")}, "refuse"),
        ({"headers": sec_fetch("no-cors", None)}, "refuse"),
        ({"headers": sec_fetch("no-cors", "empty"), "method": "POST"}, "refuse"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/static/js/home.js"}, "pass"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/logo?v=1"}, "pass"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/trust/static/family.css"}, "pass"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/static%2f..%2fhome"}, "refuse"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/logout"}, "refuse"),
        ({"headers": sec_fetch("no-cors", "empty"), "url": "/hub/home?/hub/static/"}, "refuse"),
        ({"headers": sec_fetch("no-cors", "image")}, "pass"),
        ({"headers": sec_fetch("no-cors", "script")}, "pass"),
        ({"headers": sec_fetch("cors", "empty")}, "pass"),
        ({"headers": VISIT}, "pass"),
        ({"headers": {}}, "pass"),
        ({"headers": {"service-worker": "script"}, "url": "/hub/static/x.js"}, "refuse"),
        ({"headers": sec_fetch("same-origin", "serviceworker")}, "refuse"),
    ],
)
def test_what_the_hub_is_asked(request_: dict[str, Any], expected: str) -> None:
    assert verdict(**{"prefix": "/", "url": "/hub/home", **request_}) == expected


def test_other_routes_are_an_experts() -> None:
    assert verdict(prefix="/services/x") == "pass"


@pytest.mark.parametrize("name", ["x\u2028y", "x\u2029", "x\ny", "\n", "x\ry", "x y", "50%", "ä"])
def test_a_server_may_be_called_anything(name: str) -> None:
    """JupyterHub 5 takes all of these."""
    assert {one["verdict"] for one in decide([{**one, "prefix": f"/user/ben/{name}"} for one in EVERY_REQUEST])} <= {
        "lead",
        "refuse",
    }
    assert verdict(headers=VISIT, cookies=BENS_OWN, prefix=f"/user/ben/{name}") == "pass"


@pytest.mark.parametrize("prefix", ["/user", "/user/", "/user//x"])
def test_what_would_lead_all_members_to_one_leads_nobody(prefix: str) -> None:
    """As a server called ".." would."""
    assert verdict(headers=VISIT, cookies=BENS_OWN, prefix=prefix) == "refuse"


# -- where a request says to come from (W8) ---------------------------------------------------------------------------

ORIGINS = {
    "https://box:8000": True,
    "https://BOX:8000": True,
    "http://box:8000": False,
    "https://box": False,
    "https://box:8001": False,
    "https://box:8000.evil.example": False,
    "https://evil.example": False,
    "https://evil.example@box:8000": False,
    "https://box:8000@evil.example": False,
    "https://box:8000/": False,
    "wss://box:8000": False,
    "file://box:8000": False,
    "null": False,
    "": False,
    "https://": False,
}

FORWARDED = {"x-forwarded-proto": "https", "x-forwarded-host": "jupyter.example"}


@pytest.mark.parametrize("prefix", ["/", "/user/ben", "/services/x"])
def test_origins(prefix: str) -> None:
    """Whatever changes something must come from our own pages; asking alone changes nothing."""
    methods = ("GET", "POST", "PUT", "DELETE", "PATCH", "PROPFIND", "socket")
    requests = [
        {
            "prefix": prefix,
            "method": "GET" if method == "socket" else method,
            "isSocket": method == "socket",
            "headers": {"origin": origin},
            "cookies": BENS_OWN,
        }
        for origin in ORIGINS
        for method in methods
    ]
    for (origin, method), found in zip(itertools.product(ORIGINS, methods), decide(requests)):
        assert found["verdict"] == ("pass" if ORIGINS[origin] or method == "GET" else "refuse"), (origin, method)


@pytest.mark.parametrize(
    ("headers", "more", "expected"),
    [
        ({"origin": "https://[fd00::5]:8000", "host": "[fd00::5]:8000"}, {}, "pass"),
        ({"origin": "https://192.168.1.5", "host": "192.168.1.5"}, {}, "pass"),
        ({"origin": "https://box:8000", "host": ""}, {}, "refuse"),
        ({}, {}, "pass"),
        # Plain HTTP, switched on by hand.
        ({"origin": "http://box:8000"}, {"insecure": True}, "pass"),
        ({"origin": "https://box:8000"}, {"insecure": True}, "refuse"),
        # Another proxy in front: what it says counts, and nobody else is believed.
        ({"origin": "https://jupyter.example", **FORWARDED}, {"insecure": True, "forwarded": True}, "pass"),
        ({"origin": "https://box:8000", "x-forwarded-proto": "https"}, {"insecure": True, "forwarded": True}, "pass"),
        ({"origin": "https://jupyter.example", **FORWARDED}, {}, "refuse"),
        ({"origin": "https://evil.example", **FORWARDED}, {"insecure": True, "forwarded": True}, "refuse"),
    ],
)
def test_origins_of_other_hosts(headers: dict[str, str], more: dict[str, Any], expected: str) -> None:
    assert verdict(prefix="/", method="POST", headers=headers, **more) == expected


def test_the_trust_page_may_ask_from_plain_http() -> None:
    page = {"prefix": "/", "isSocket": True, "headers": {"origin": "http://box:8000"}}
    assert verdict(**page, url="/hub/trust/socket") == "pass"
    assert verdict(**page, url="/hub/trust/socket?x") == "pass"
    for other in ("/hub/trust/socketx", "/hub/api/x?/hub/trust/socket", "/hub/trust/socket/../../user"):
        assert verdict(**page, url=other) == "refuse"
    assert verdict(**{**page, "isSocket": False, "method": "POST"}, url="/hub/trust/socket") == "refuse"
    assert verdict(**{**page, "headers": {"origin": "http://evil:8000"}}, url="/hub/trust/socket") == "refuse"


# -- the owner's pass is renewed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "is_renewed"), [(0, False), (DAY - 1, False), (DAY, True), (14 * DAY, True)])
def test_a_pass_in_use_goes_on(age: int, is_renewed: bool) -> None:
    cookies = [browser(BENS), given_pass("ben", "ben", BENS, issued=NOW - age)]
    (found,) = decide([{"cookies": cookies}])
    assert found["verdict"] == "pass" and bool(found["cookie"]) is is_renewed
    if is_renewed:
        value, *attributes = found["cookie"].split("; ")
        assert attributes == ["Path=/user/ben/", f"Max-Age={14 * DAY}", "HttpOnly", "SameSite=Lax", "Secure"]
        (again,) = decide([{"cookies": [browser(BENS), value]}])
        assert again == {"verdict": "pass", "cookie": ""}
        assert verdict(cookies=[browser(ANNAS), value]) == "refuse"


def test_a_pass_that_is_shared_is_not() -> None:
    cookies = [browser(ANNAS), given_pass("anna", "ben", ANNAS, "", issued=NOW - 13 * DAY)]
    (found,) = decide([{"cookies": cookies}])
    assert found["verdict"] == "ask" and "cookie" not in found


def test_what_a_server_hears_of_the_cookies() -> None:
    body = 'return given.map((one) => require("./gate.js").withoutOurs(one, true));'
    ours = f"{browser('x')}; jupyterhub4family-gate=a.b"
    assert javascript.run(body, [ours, f"a=1; {ours};b=2", "", f"jupyterhub-session-id={SESSION}", None]) == [
        "", "a=1; b=2", "", f"jupyterhub-session-id={SESSION}", ""
    ]  # fmt: skip
