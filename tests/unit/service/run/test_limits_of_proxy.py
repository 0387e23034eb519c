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
