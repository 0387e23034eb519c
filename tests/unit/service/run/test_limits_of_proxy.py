"""proxy/limits.js, proxy/device_cookie.js: who is counted together, and which cookies no member's server may set."""

from __future__ import annotations

import pytest

from tests.unit import javascript

_GROUPS = """
const { Limits } = require("./limits.js");
const limits = new Limits({ warn() {} }, given.isForwarded);
return given.addresses.map((one) => limits.groupsOf(one).map(({ name, limit }) => [name, limit.all]));
"""
_TURNS = """
const { Limits } = require("./limits.js");
const limits = new Limits({ warn() {} }, false);
const requests = given.map(([isForHub, method, url]) => ({ isForHub, method, url }));
const kinds = ["hubTurns", "loginTurns", "allTurns"];
return requests.map((one) => kinds.find((kind) => limits.turnsFor(one) === limits[kind]));
"""
_DROP = """
const { dropFrom } = require("./device_cookie.js");
const headers = { "set-cookie": given.cookies };
dropFrom(headers, { url: given.url });
return headers["set-cookie"];
"""


@pytest.mark.parametrize(("is_forwarded", "most"), [(False, 400), (True, 1200)])
def test_all_addresses_of_this_machine_are_one(is_forwarded: bool, most: int) -> None:
    """Any member has sixteen million of them. Many devices they are only where another proxy is in front."""
    addresses = ["127.0.0.1", "127.77.1.2", "::1", "::ffff:127.0.0.9"]
    found = javascript.run(_GROUPS, {"isForwarded": is_forwarded, "addresses": addresses})
    assert [groups[0] for groups in found] == [["127.0.0.1", most]] * 4
    assert all(len(groups) == 2 for groups in found)


def test_others_are_counted_by_address_and_network() -> None:
    addresses = ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "2001:db8:0:0:1::2", "fe80::1%eth0"]
    found = javascript.run(_GROUPS, {"isForwarded": False, "addresses": addresses})
    assert [[name for name, _most in groups][:-1] for groups in found] == [
        ["192.0.2.7"],
        ["192.0.2.7"],
        ["2001:db8::1", "2001:0db8:0000:0000::/64"],
        ["2001:db8:0:0:1::2", "2001:0db8:0000:0000::/64"],
        ["fe80::1", "fe80:0000:0000:0000::/64"],
    ]


@pytest.mark.parametrize("name", ["device", "browser", "gate"])
def test_no_members_server_sets_what_is_the_hubs(name: str) -> None:
    ours = f"jupyterhub4family-{name}"
    tossed = [f"__Host-{ours}=x; Path=/", f"  __host-{ours} =x", f"=__Host-{ours}=x", f"{ours}=; Max-Age=0"]
    others = ["fine=1; Path=/user/ben/", f"my-{ours}=1", f"a={ours}"]
    assert javascript.run(_DROP, {"url": "/user/ben/lab", "cookies": [*tossed, *others]}) == others
    assert javascript.run(_DROP, {"url": "/hub/login", "cookies": tossed}) == tossed


@pytest.mark.parametrize(
    ("is_for_hub", "method", "url", "turns"),
    [
        (True, "POST", "/hub/login", "loginTurns"),
        (True, "POST", "/hub/login?next=%2Fhub%2Fhome", "loginTurns"),
        (True, "POST", "/hub/login#x", "loginTurns"),
        (True, "POST", "/hub/./x/../login", "loginTurns"),
        (True, "POST", "http://other/hub/login", "loginTurns"),
        (True, "POST", "/hub/api/users/anna/tokens", "loginTurns"),
        (True, "POST", "/hub/api/users/%61nna/tokens?x", "loginTurns"),
        (True, "POST", "//hub/login", "hubTurns"),
        (True, "POST", "http://[/hub/login", "hubTurns"),
        (True, "GET", "/hub/api/users/anna/tokens", "hubTurns"),
        (True, "GET", "/hub/login", "hubTurns"),
        (True, "POST", "/hub/login/x", "hubTurns"),
        (True, "POST", "/hub/api/users/anna/server?/hub/login", "hubTurns"),
        (False, "POST", "/user/anna/hub/login", "allTurns"),
    ],
)
def test_passwords_that_wait_hold_no_turns_of_others(is_for_hub: bool, method: str, url: str, turns: str) -> None:
    """Forty strangers' tries were all that the hub got, for as long as they came."""
    assert javascript.run(_TURNS, [[is_for_hub, method, url]]) == [turns]


_SOCKETS = """
const { EventEmitter } = require("events");
const { Limits } = require("./limits.js");
const limits = new Limits({ warn() {} }, false);
const refused = [];
const proxy = { proxy: Object.assign(new EventEmitter(), { web() {} }), proxyServer: new EventEmitter(),
  handleProxy() {}, proxyOptsForTarget() {}, handleProxyError: (status) => refused.push(status),
  targetForReq: async ({ url }) => ({ prefix: url.startsWith("/user/anna") ? "/user/anna" : "/", target: "" }) };
limits.guard(proxy);
const answers = [];
for (const [url, headers] of given) {
  const client = Object.assign(new EventEmitter(), { destroySoon() {} });
  const request = { method: "GET", url, headers, socket: { remoteAddress: "192.0.2.1" } };
  refused.length = 0;
  answers.push((await limits.mayPass("ws", request, client)) ? "passes" : refused[0]);
}
return answers;
"""
_SLOW_READER = """
const { EventEmitter } = require("events");
const { PassThrough, Writable } = require("stream");
const { Limits } = require("./limits.js");
const proxy = { proxy: Object.assign(new EventEmitter(), { web() {} }), proxyServer: new EventEmitter(),
  handleProxy() {}, proxyOptsForTarget() {} };
new Limits({ warn() {} }, false).guard(proxy);
const taken = [];
const client = new Writable({ write(chunk, _encoding, done) { taken.push(done); } });
const asked = new EventEmitter();
proxy.proxy.emit("proxyReqWs", asked, { answered() {} }, client);
const answer = new PassThrough();
asked.emit("response", answer);
let ended = false;
answer.on("data", (chunk) => client.write(chunk)); // as http-proxy does
answer.on("end", () => (ended = true));
let sent = 0;
while (sent < 64 && answer.write(Buffer.alloc(1 << 18))) sent += 1;
for (let i = 0; i < 300; i++) {
  await new Promise(setImmediate);
  if (sent++ < 64) answer.write(Buffer.alloc(1 << 18));
}
const kept = client.writableLength;
answer.end();
for (let i = 0; i < 2000 && !ended; i++) {
  await new Promise(setImmediate);
  while (taken.length) taken.shift()();
}
return [kept < (2 << 20), ended];
"""


def test_what_is_no_web_socket_of_the_hubs_never_gets_there() -> None:
    """It would answer with a page, or wait for a body; a turn was held until the client had gone."""
    given = [
        ("/hub/trust/socket", {}),
        ("/hub/trust/socket?x", {}),
        ("/hub/trust/socket", {"content-length": "9"}),
        ("/hub/trust/socket", {"transfer-encoding": "chunked"}),
        ("/hub/login", {}),
        ("/hub/static/js/admin-react.js", {}),
        ("/user/ben/api/kernels/1/channels", {}),
        ("/user/anna/api/kernels/1/channels", {}),
        ("/user/anna/api/kernels/1/channels", {"content-length": "0"}),
        ("/user/anna/api/kernels/1/channels", {"content-length": "9"}),
    ]
    assert javascript.run(_SOCKETS, given) == ["passes", "passes", 400, 400, 404, 404, 404, "passes", "passes", 400]


def test_of_an_answer_that_nobody_reads_little_is_kept() -> None:
    assert javascript.run(_SLOW_READER) == [True, True]


_GUARDED = """
const { EventEmitter } = require("events");
const { Limits } = require("./limits.js");
const logged = [];
const log = { warn: (...words) => logged.push(words.join(" ")), error: (...words) => logged.push(words.join(" ")) };
const limits = new Limits(log, false);
const proxy = {
  proxy: Object.assign(new EventEmitter(), { web() {} }),
  proxyServer: new EventEmitter(),
  proxyOptsForTarget: () => ({}),
  targetForReq: async () => ({ prefix: given.prefix, target: "http://127.0.0.1:1" }),
  handleProxy: async () => { throw Object.assign(new Error("no more"), { code: "EMFILE" }); },
  handleProxyError(code, kind, request, response) { response.status = code; },
};
limits.guard(proxy);
const socketOf = (port, address = "192.0.2.7") => Object.assign(new EventEmitter(), {
  remoteAddress: address, remotePort: port, localAddress: "192.0.2.1", destroyed: false,
  destroy() { this.destroyed = true; }, destroySoon() { this.destroyed = true; },
});
"""


def test_an_error_in_the_midst_of_a_request_ends_that_request_only() -> None:
    """Of a web socket nobody else would catch it: node ends then, for everybody."""
    body = """
      const outcomes = [];
      for (const [kind, isAnswered] of [["web", false], ["web", true], ["ws", false]]) {
        const socket = socketOf(outcomes.length + 1);
        limits.admit(socket);
        const web = Object.assign(socketOf(99), { setHeader() {}, headersSent: isAnswered });
        const response = kind === "ws" ? socket : web;
        const request = { method: "GET", url: "/", headers: {}, socket, complete: true, isAnswered };
        await proxy.handleProxy(kind, request, response);
        outcomes.push([response.status || 0, response.destroyed]);
      }
      return [outcomes, logged];
    """
    outcomes, logged = javascript.run(_GUARDED + body, {"prefix": "/user/anna"})
    assert outcomes == [[503, False], [0, True], [0, True]]
    assert logged == ["A request broke off: %s EMFILE"] * 3


def test_an_address_has_so_many_streams_of_the_hub() -> None:
    """Each is a connection to the hub for as long as a start takes: without a bound, thousands from one device."""
    body = """
      const kept = [];
      const open = (address) => {
        const response = socketOf(0);
        const request = { isForHub: true, socket: socketOf(1, address), answered() {} };
        const answer = { statusCode: 200, headers: { "content-type": "text/event-stream" } };
        proxy.proxy.emit("proxyRes", answer, request, response);
        kept.push(response);
        return response.destroyed;
      };
      const first = Array.from({ length: 20 }, () => open("192.0.2.7")).filter(Boolean).length;
      const other = open("192.0.2.8");
      kept.slice(0, 5).forEach((response) => response.emit("close"));
      const later = Array.from({ length: 7 }, () => open("192.0.2.7")).filter(Boolean).length;
      return [first, other, later];
    """
    assert javascript.run(_GUARDED + body, {"prefix": "/"}) == [4, False, 2]


def test_a_web_socket_behind_other_requests_is_none() -> None:
    """Each request that waits for a member's server has a descriptor, and the web socket another one."""
    body = """
      const server = new EventEmitter();
      const seen = [];
      server.on("request", () => seen.push("request"));
      server.on("upgrade", () => seen.push("upgrade"));
      limits.prepare(server);
      const socket = socketOf(1);
      limits.admit(socket);
      const request = () => Object.assign(new EventEmitter(), { method: "GET", url: "/", headers: {}, socket });
      server.emit("upgrade", request(), socket, Buffer.alloc(0));
      server.emit("request", request(), new EventEmitter());
      server.emit("upgrade", request(), socket, Buffer.alloc(0));
      const before = socket.destroyed;
      server.emit("request", request(), new EventEmitter());
      server.emit("upgrade", request(), socket, Buffer.alloc(0));
      return [seen, before, socket.destroyed];
    """
    seen, before, after = javascript.run(_GUARDED + body, {"prefix": "/"})
    assert (seen, before, after) == (["upgrade", "request", "upgrade", "request"], False, True)
