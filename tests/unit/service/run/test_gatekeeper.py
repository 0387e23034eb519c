"""proxy/gatekeeper.js: what the hub has said is good for a while, and what a member's server says stays its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit import javascript

_ANSWERS = """
const { Answers } = require("./gatekeeper.js");
let now = 0, asked = 0;
const said = [];
const answers = new Answers(async () => {
  asked += 1;
  if (said[0] === "away") throw new Error("the hub is away");
  return said[0];
}, () => now);
const seen = [];
for (const [seconds, word] of given) {
  now += 1000 * seconds;
  said[0] = word;
  seen.push([await answers.allows({ viewer: "anna" }), asked]);
}
return seen;
"""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # (seconds later, what the hub would say) -> (what is done, how often it was asked)
        (
            [(0, True), (59, False), (2, False), (1, True), (3, True)],
            [(True, 1), (True, 1), (False, 2), (False, 2), (True, 3)],
        ),
        ([(0, "away"), (1, True), (3, True)], [(False, 1), (False, 1), (True, 2)]),
        (
            [(0, True), (61, "away"), (1, "away"), (3, "away"), (3, False)],
            [(True, 1), (True, 2), (True, 2), (True, 3), (False, 4)],
        ),
        ([(0, False), (61, "away"), (3, True)], [(False, 1), (False, 2), (True, 3)]),
    ],
)
def test_how_long_an_answer_is_good(steps: list[Any], expected: list[Any]) -> None:
    assert [tuple(one) for one in javascript.run(_ANSWERS, steps)] == expected


def test_one_question_is_asked_once_and_not_too_many_at_a_time() -> None:
    body = """
    const { Answers } = require("./gatekeeper.js");
    let running = 0, most = 0, asked = 0;
    const answers = new Answers(async () => {
      asked += 1;
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 100));
      running -= 1;
      return true;
    });
    const same = await Promise.all([...Array(50)].map(() => answers.allows({ viewer: "anna" })));
    const others = await Promise.all([...Array(5000)].map((_, number) => answers.allows({ session: `${number}` })));
    for (let i = 0; i < 3000; i += 20) {
      await Promise.all([...Array(20)].map((_, number) => answers.allows({ owner: `${i + number}` })));
    }
    return { asked, most, same: same.every(Boolean), allowed: others.filter(Boolean).length, kept: answers.known.size };
    """
    found = javascript.run(body.replace("setTimeout(resolve, 100)", "setImmediate(resolve)"))
    assert found == {"asked": 1 + 20 + 3000, "most": 20, "same": True, "allowed": 20, "kept": 1000}


def test_made_up_sessions_keep_no_pass_from_being_asked_about() -> None:
    """Anybody can send a session that is none; a pass is signed."""
    body = """
    const { guardServers } = require("./gatekeeper.js");
    const gate = require("./gate.js");
    const { EventEmitter } = require("events");
    const now = Math.floor(Date.now() / 1000);
    const pass = { viewer: "anna", viewerUid: 1, owner: "root", ownerUid: 0, server: "", issued: now };
    const seen = { most: 0, running: 0, passed: 0 };
    const proxy = { proxy: new EventEmitter(), targetForReq: async () => ({ prefix: "/user/root" }),
      handleProxy: async () => { seen.passed += 1; } };
    guardServers(proxy, { debug() {} }, { key: "k", isSecure: false, refused: { en: "no" }, ask: async (question) => {
      if (question.viewer) return true;
      seen.most = Math.max(seen.most, ++seen.running);
      await new Promise((resolve) => setTimeout(resolve, 200));
      seen.running -= 1;
      return false;
    } });
    const request = { method: "GET", url: "/user/root/api" };
    const ask = (cookie) => proxy.handleProxy("web", { ...request, headers: { host: "x", cookie } },
      { writeHead() {}, end() {} });
    const sessions = [...Array(3000)].map((_, number) => String(number).padStart(32, "0"));
    const strangers = sessions.map((one) => ask(`jupyterhub-session-id=${one}`));
    await ask(`jupyterhub4family-browser=b; ${gate.PASS_COOKIE}=${gate.sign(pass, "b", "k")}`);
    const { passed } = seen;
    await Promise.all(strangers);
    return { passed, most: seen.most };
    """
    assert javascript.run(body, {}) == {"passed": 1, "most": 8}


@pytest.mark.parametrize(
    ("content_type", "is_no_page"),
    [
        ("text/css", True),
        ("application/javascript; charset=utf-8", True),
        ("application/json", True),
        ("image/png", True),
        ("font/woff2", True),
        ("application/octet-stream", True),
        ("text/html", False),
        ("text/html; charset=utf-8", False),
        ("application/xhtml+xml", False),
        ("image/svg+xml", False),
        ("text/xml", False),
        ("application/xml", False),
        ("application/rss+xml", False),
        ("multipart/x-mixed-replace", False),
        ("", False),
        ("*/*", False),
        ("unknown/unknown", False),
        ("text/css, text/html", False),
        ("text/plain; charset=utf-8, text/html", False),
        ("text/plain;,text/html", False),
        ('text/plain; x="; text/html, text/html', False),
        ("image/x+xml", False),
        ("video/mp4; codecs=avc1", True),
        ("text/csshtml", False),
        ("application/jsonx", False),
    ],
)
def test_what_a_browser_may_keep(content_type: str, is_no_page: bool) -> None:
    assert javascript.run('return require("./gatekeeper.js").NO_PAGE.test(given);', content_type) is is_no_page


_PROXY = """
const { guardServers } = require("./gatekeeper.js");
const { EventEmitter } = require("events");
const gate = require("./gate.js");
const now = Math.floor(Date.now() / 1000);
const uid = require("os").userInfo();
const browser = "b.c";
const who = { viewer: uid.username, viewerUid: uid.uid, owner: uid.username, ownerUid: uid.uid };
const pass = { ...who, server: null, issued: now - 2 * 86400 };
const prefix = `/user/${uid.username}`;
const reached = [];
const proxy = {
  targetForReq: async () => ({ prefix, target: "http://127.0.0.1:1" }),
  handleProxy: async (kind, request) => { reached.push(request); },
  proxy: new EventEmitter(),
};
const options = { key: "k", isSecure: true, isForwarded: false, ask: async () => false };
guardServers(proxy, { debug() {} }, { ...options, refused: { en: "Reload", de: "Neu" } });
const answer = () => ({
  writeHead(status, headers) { this.status = status; this.headers = headers; },
  end(text) { this.text = text || ""; },
});
const ask = async (kind, request) => {
  const response = answer();
  await proxy.handleProxy(kind, { method: "GET", url: `${prefix}/lab?a=b&c`, ...request }, response);
  return { status: response.status, headers: response.headers, text: response.text };
};
const result = {};
result.led = await ask("web", { headers: { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" } });
result.api = await ask("web", { url: `${prefix}/api/contents?x`, headers: { host: "x", "accept-language": "de-AT" } });
result.picture = await ask("web", { url: `${prefix}/x.png`, headers: {} });
result.socket = await ask("ws", { headers: {} });
result.before = reached.length;
const value = gate.sign(pass, browser, "k");
const cookie = `a=1; __Host-jupyterhub4family-browser=${browser}; jupyterhub4family-gate=${value}`;
await ask("web", { headers: { cookie } });
result.cookie = reached[0].headers.cookie;
const headers = {
  "content-type": "text/html", "cache-control": "max-age=9", "service-worker-allowed": "/", "clear-site-data": "*",
  "strict-transport-security": "max-age=9", "alt-svc": "h2=:1", nel: "{}", "report-to": "{}", "set-cookie": ["x=y"],
};
proxy.proxy.emit("proxyRes", { statusCode: 200, headers }, reached[0]);
result.headers = headers;
const kept = { "cache-control": "max-age=9" };
proxy.proxy.emit("proxyRes", { statusCode: 304, headers: kept }, reached[0]);
result.kept = kept["cache-control"];
const strange = [[99, "x"], [0, "x"], [999, "x"], [200, "O\\x01K"], [200, "O\\x00K"], [200, "Fine"], [404, "\\xe4"]];
result.strange = strange.map(([statusCode, statusMessage]) => {
  const answer = { statusCode, statusMessage, headers: { trailer: "X" } };
  proxy.proxy.emit("proxyRes", answer, {});
  return [answer.statusCode, answer.statusMessage, answer.headers.trailer || ""];
});
const outgoing = new EventEmitter();
proxy.proxy.emit("proxyReqWs", outgoing, reached[0]);
result.sockets = ["response", "upgrade"].map((kind) => {
  const headers = { "clear-site-data": "*", "service-worker-allowed": "/", upgrade: "websocket" };
  outgoing.emit(kind, { statusCode: 101, headers });
  return Object.keys(headers).sort();
});
const hubs = { "clear-site-data": "storage", "content-type": "text/html" };
proxy.proxy.emit("proxyRes", { statusCode: 200, headers: hubs }, {});
result.hubs = hubs;
return result;
"""


def test_what_is_answered_and_what_is_passed_on() -> None:
    found = javascript.run(_PROXY)
    assert found["led"]["status"] == 302 and found["led"]["headers"]["Cache-Control"] == "no-store"
    location = found["led"]["headers"]["Location"]
    assert location.startswith("/hub/gate?next=%2Fuser%2F") and location.endswith("%2Flab%3Fa%3Db%26c")
    assert found["api"]["status"] == 403 and found["api"]["text"] == '{"message":"Neu","reason":null}'
    assert found["api"]["headers"]["Content-Type"] == "application/json"
    assert found["picture"]["text"] == "Reload\n" and found["picture"]["headers"]["X-Content-Type-Options"] == "nosniff"
    assert found["socket"]["text"].startswith("HTTP/1.1 403 ") and found["before"] == 0
    assert found["cookie"] == "a=1"
    cookies = found["headers"].pop("set-cookie")
    assert found["headers"] == {"content-type": "text/html", "cache-control": "no-store"}
    assert cookies[0] == "x=y" and cookies[1].startswith("jupyterhub4family-gate=") and "Secure" in cookies[1]
    words = ["Bad Gateway", "Bad Gateway", "Bad Gateway", "OK", "OK", "Fine", "\xe4"]
    assert found["strange"] == [
        [status, word, ""] for status, word in zip([502, 502, 502, 200, 200, 200, 404], words)
    ], "what node would not write"
    assert found["sockets"] == [["cache-control", "set-cookie", "upgrade"]] * 2, "as other answers"
    assert found["kept"] == "max-age=9" and found["hubs"]["clear-site-data"] == "storage"
