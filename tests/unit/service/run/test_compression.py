"""proxy/compression.js: which answers are sent smaller, and that what holds a secret never is."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.unit import javascript

#: A member's server and a proxy that does with its answers what http-proxy does. Each of `given.requests` is
#: asked once; what comes back is status, headers, the bytes that were sent, and the body once it is decoded.
_AROUND = r"""
const http = require("http");
const zlib = require("zlib");
const { createHash } = require("crypto");
const { CompressedFiles } = require("./compressed_files.js");
const { Budget, Compression } = require("./compression.js");
const files = new CompressedFiles({ warn() {} }, { templates: given.templates || "/nowhere", release: "/nowhere" });
files.look();
const compression = new Compression(files);
if (given.turns !== undefined) compression.turns.all = given.turns;
if (given.budget !== undefined) Object.assign(compression.budget = new Budget(() => 0), { left: given.budget });
const server = http.createServer((request, response) => {
  const { status = 200, headers = {}, body = "" } = given.answers[request.url.split("?")[0]];
  response.writeHead(status, headers);
  response.end(request.method === "HEAD" || status === 304 ? undefined : body);
});
const proxy = http.createServer((request, response) => {
  const { port } = server.address();
  const { method, url, headers } = request;
  http.request({ port, method, path: url, headers, agent: false }, (answer) => {
    request.judged = { prefix: /^\/user\/[^/]+|^/.exec(url)[0] || "/" }; // as the gate leaves it
    compression.consider(answer, request);
    for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
    response.statusCode = answer.statusCode;
    answer.pipe(response);
  }).end();
});
const listen = (one) => new Promise((resolve) => one.listen(0, "127.0.0.1", resolve));
const ask = ({ url, method = "GET", headers = {} }) => new Promise((resolve, reject) => {
  const place = { port: proxy.address().port, path: url, method, headers, agent: false };
  http.request(place, (answer) => {
    const parts = [];
    answer.on("data", (part) => parts.push(part));
    answer.on("end", () => {
      const sent = Buffer.concat(parts);
      const coding = sent.length ? answer.headers["content-encoding"] : undefined;
      const body = { br: zlib.brotliDecompressSync, gzip: zlib.gunzipSync }[coding]?.(sent) ?? sent;
      resolve({ status: answer.statusCode, headers: answer.headers, sent: sent.length, body: body.toString() });
    });
    answer.on("error", reject);
  }).on("error", reject).end();
});
await listen(server);
await listen(proxy);
const results = [];
for (const one of given.requests) results.push(await ask(one));
server.close();
proxy.close();
return results;
"""
SCRIPT = "function f() { return 'the same words again'; }\n" * 400
ALL = {"accept-encoding": "gzip, deflate, br, zstd"}
THEN = "Mon, 30 Nov 2026 02:18:53 GMT"


def _script(**headers: str) -> dict[str, Any]:
    given = {"content-type": "text/javascript", "content-length": str(len(SCRIPT)), "last-modified": THEN}
    return {"headers": {**given, **headers}, "body": SCRIPT}


def _ask(answers: dict[str, Any], requests: list[dict[str, Any]], **given: Any) -> list[dict[str, Any]]:
    found = javascript.run(_AROUND, {"answers": answers, "requests": requests, **given})
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("header", "encodings"),
    [
        ("gzip, deflate, br, zstd", ["br", "gzip"]),
        ("gzip, deflate", ["gzip"]),
        ("GZIP;q=0.5, br;q=0", ["gzip"]),
        ("x-gzip", ["gzip"]),
        ("*", ["br", "gzip"]),
        ("*;q=0, gzip", ["gzip"]),
        ("br;q=1.0", ["br"]),
        ("identity", []),
        ("gzip;q=nonsense", []),
        ("", []),
        (None, []),
    ],
)
def test_which_encodings_a_browser_takes(header: str | None, encodings: list[str]) -> None:
    assert javascript.run('return require("./compression.js").encodingsFor(given);', header) == encodings


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/user/anna/static/lab/main.1a2b.js?v=1a2b", "static/lab/main.1a2b.js"),
        ("/user/anna/work/static/lab/main.1a2b.js", "static/lab/main.1a2b.js"),
        ("/user/anna/lab/extensions/@jupyter-notebook/x/static/a.js", "lab/extensions/@jupyter-notebook/x/static/a.js"),
        ("/user/anna/lab/api/themes/@jupyterlab/dark/index.css", "lab/api/themes/@jupyterlab/dark/index.css"),
        ("/user/anna/custom/custom.css", "custom/custom.css"),
        ("/hub/static/css/style.min.css?v=1", "static/css/style.min.css"),
        ("/hub/trust/static/family.js", "trust/static/family.js"),
        # Pages and what is said by an API, with the tokens that they hold.
        ("/user/anna/lab", None),
        ("/user/anna/api/contents/static/lab/x.js", None),
        ("/user/anna/files/static/x.js", None),
        ("/user/anna/lab/api/settings", None),
        ("/user/anna/lsp/status", None),
        ("/hub/login", None),
        ("/hub/api/users/anna", None),
        ("/hub/home?x=/hub/static/css/style.min.css", None),
        ("/hub/home#/hub/static/css/style.min.css", None),
        # What may be somebody else's once it is passed on.
        ("/hub/static/../home", None),
        ("/hub/static/..%2fhome", None),
        ("/hub/static/%2e%2e/home", None),
        ("/hub/static/./x.css", None),
        ("/hub/static//x.css", None),
        ("/hub/static/x.css#y", None),
        ("/user/anna/static/../api/contents", None),
        ("/user/anna/static/lab/%2e%2e/%2e%2e/api/contents", None),
        ("/user/../hub/static/x.css", None),
        ("/user/%2e%2e/hub/static/x.css", None),
        ("/user/anna/../static/lab/x.js", None),
        ("http://other/hub/static/x.css", None),
        ("//hub/static/x.css", None),
    ],
)
def test_which_addresses_are_of_static_files(url: str, name: str | None) -> None:
    prefix = next((one for one in ("/user/anna/work", "/user/anna") if url.startswith(one + "/")), "/")
    body = 'return require("./compression.js").staticFile(...given)?.name ?? null;'
    assert javascript.run(body, [url, prefix]) == name


def test_nothing_that_holds_a_secret_is_ever_compressed() -> None:
    """BREACH: the length of such an answer would tell, letter by letter, what else is in it."""
    page = {"content-type": "text/html", "content-length": str(len(SCRIPT))}
    api = {"content-type": "application/json", "content-length": str(len(SCRIPT))}
    answers: dict[str, Any] = {
        "/user/anna/lab": {"headers": page, "body": SCRIPT},
        "/user/anna/static/page.html": {"headers": page, "body": SCRIPT},
        "/user/anna/api/me": {"headers": api, "body": SCRIPT},
        "/user/anna/static/data.json": {"headers": api, "body": SCRIPT},
        "/user/anna/api/contents/x.js": _script(),
        "/user/anna/files/x.js": _script(),
        "/hub/login": {"headers": page, "body": SCRIPT},
        "/hub/static/page": {"headers": page, "body": SCRIPT},
        "/hub/api/user": {"headers": api, "body": SCRIPT},
    }
    for found in _ask(answers, [{"url": url, "headers": ALL} for url in answers]):
        assert "content-encoding" not in found["headers"]
        assert found["sent"] == len(SCRIPT)


def test_a_members_own_script_comes_smaller() -> None:
    url = "/user/anna/static/lab/own.js"
    tagged = {url: _script(etag='"x"', **{"accept-ranges": "bytes"})}
    plain, packed, asked = _ask(
        tagged, [{"url": url}, {"url": url, "headers": ALL}, {"url": url, "method": "HEAD", "headers": ALL}]
    )
    assert plain["sent"] == len(SCRIPT)
    assert plain["headers"]["vary"] == "Accept-Encoding", "who keeps it must not hand it to others"
    assert plain["headers"]["etag"] == '"x"'
    assert packed["body"] == SCRIPT
    assert packed["sent"] < len(SCRIPT) / 10
    assert packed["headers"]["content-encoding"] == "gzip"
    assert packed["headers"]["etag"] == 'W/"x"', "not byte for byte what another gets"
    assert packed["headers"]["last-modified"] == THEN
    assert "accept-ranges" not in packed["headers"]
    assert (asked["headers"]["content-encoding"], asked["sent"]) == ("gzip", 0)
    assert "content-length" not in asked["headers"]


@pytest.mark.parametrize(
    ("answer", "request_headers"),
    [
        (_script(**{"content-encoding": "zstd"}), {}),
        (_script(**{"cache-control": "public, no-transform"}), {}),
        ({**_script(**{"content-range": f"bytes 0-{len(SCRIPT) - 1}/99999"}), "status": 206}, {"range": "bytes=0-"}),
        (_script(), {"range": "bytes=0-"}),
        ({**_script(), "status": 404}, {}),
        ({"headers": {"content-type": "text/javascript", "content-length": "3"}, "body": "f()"}, {}),
        (_script(**{"content-type": "font/woff2"}), {}),
        (_script(**{"content-type": "text/html"}), {}),
        (_script(**{"content-type": "image/png"}), {}),
    ],
)
def test_what_stays_as_it_is(answer: dict[str, Any], request_headers: dict[str, str]) -> None:
    url = "/user/anna/static/lab/x.js"
    [found] = _ask({url: answer}, [{"url": url, "headers": {**ALL, **request_headers}}])
    # A browser that knows zstd gets what is coded already; this test cannot decode it and need not.
    assert found["headers"].get("content-encoding") == answer["headers"].get("content-encoding")
    assert found["sent"] == len(answer["body"])


def test_a_file_that_has_not_changed_needs_nothing() -> None:
    url = "/user/anna/static/lab/x.js"
    [found] = _ask({url: {"status": 304, "headers": {"vary": "Cookie"}}}, [{"url": url, "headers": ALL}])
    assert (found["status"], found["sent"]) == (304, 0)
    assert found["headers"]["vary"] == "Cookie, Accept-Encoding"


@pytest.mark.parametrize("bound", [{"turns": 0}, {"budget": 100}])
def test_beyond_its_bounds_everything_comes_as_it_is(bound: dict[str, int]) -> None:
    url = "/user/anna/static/lab/x.js"
    [found] = _ask({url: _script()}, [{"url": url, "headers": ALL}], **bound)
    assert "content-encoding" not in found["headers"]
    assert found["body"] == SCRIPT


def test_turns_are_given_back() -> None:
    url = "/user/anna/static/lab/x.js"
    found = _ask({url: _script()}, [{"url": url, "headers": ALL}] * 5, turns=1)
    assert [one["headers"].get("content-encoding") for one in found] == ["gzip"] * 5


def test_a_server_that_ends_in_the_middle_breaks_one_answer_only() -> None:
    """Whoever asked has to see that it is not whole; and what it held is free again."""
    body = """
    const { PassThrough } = require("stream");
    const { Compression } = require("./compression.js");
    const compression = new Compression({ find: () => null });
    const answer = new PassThrough();
    answer.statusCode = 200;
    answer.headers = { "content-type": "text/javascript", "content-length": "5000" };
    const headers = { "accept-encoding": "gzip" };
    const judged = { prefix: "/user/anna" };
    compression.consider(answer, { method: "GET", url: "/user/anna/static/x.js", httpVersion: "1.1", headers, judged });
    const response = new PassThrough();
    response.on("error", () => {});
    const before = compression.turns.running;
    answer.pipe(response);
    answer.write("half");
    answer.destroy(new Error("ECONNRESET"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [before, compression.turns.running, response.destroyed, response.writableFinished];
    """
    assert javascript.run(body) == [1, 0, True, False]


def test_the_budget_fills_again_and_not_over_the_brim() -> None:
    body = """
    const { Budget } = require("./compression.js");
    let now = 0;
    const budget = new Budget(() => now);
    const seen = [];
    for (const [seconds, bytes] of given) { now += 1000 * seconds; seen.push(budget.take(bytes)); }
    return seen;
    """
    mib = 1 << 20
    steps = [(0, 64 * mib), (0, 1), (1, 4 * mib), (0, 1), (9999, 65 * mib), (0, 64 * mib)]
    assert javascript.run(body, steps) == [True, False, True, False, False, True]


def _template(directory: Path, files: dict[str, str]) -> Path:
    """A template with these files of JupyterLab's, compressed as the proxy has it done."""
    template = directory / "py3.11-0"
    static = template / "env/share/jupyter/lab/static"
    static.mkdir(parents=True)
    (template / "env/lib/python3.11").mkdir(parents=True)
    for name, text in files.items():
        (static / name).write_text(text)
        os.utime(static / name, (1796005133.75,) * 2)  # THEN, and some
    (template / ".complete").write_text("")
    (directory / "current").symlink_to(template.name)
    body = """
    const { CompressedFiles } = require("./compressed_files.js");
    const files = new CompressedFiles({ warn: console.error }, { templates: given, release: "/nowhere" });
    files.look();
    for (let i = 0; i < 300 && !files.ofMembers.length; i++) await new Promise((resolve) => setTimeout(resolve, 100));
    return files.ofMembers.length;
    """
    assert javascript.run(body, str(directory)) == 1
    return template


def test_the_templates_files_lie_compressed(tmp_path: Path) -> None:
    template = _template(tmp_path, {"main.js": SCRIPT, "same.js": SCRIPT, "small.js": "f()", "font.woff": SCRIPT})
    index = json.loads((template / "compressed/index.json").read_text())
    assert sorted(index["files"]) == ["static/lab/main.js", "static/lab/same.js"]
    assert index["files"]["static/lab/main.js"] == index["files"]["static/lab/same.js"], (
        "the same content lies there once"
    )
    assert index["files"]["static/lab/main.js"]["modified"] == THEN
    assert (template / "compressed").stat().st_mode & 0o077 == 0, "nobody but the service"
    url = "/user/anna/static/lab/main.js"
    requests: list[dict[str, Any]] = [
        {"url": url, "headers": ALL},
        {"url": url, "headers": {"accept-encoding": "gzip"}},
        {"url": url, "headers": ALL, "method": "HEAD"},
        {"url": url},
    ]
    # No turn is left to compress anything: it comes from the disk.
    br, gzip, asked, plain = _ask({url: _script()}, requests, templates=str(tmp_path), turns=0)
    assert [one["headers"].get("content-encoding") for one in (br, gzip, asked, plain)] == ["br", "gzip", "br", None]
    assert br["body"] == gzip["body"] == plain["body"] == SCRIPT
    assert br["headers"]["content-length"] == asked["headers"]["content-length"] == str(br["sent"])
    assert asked["sent"] == 0


def test_what_everybody_loads_first_is_compressed_best_and_icons_are_too(tmp_path: Path) -> None:
    lists = json.loads((javascript.PROXY.parent / "first-page.json").read_text())
    first = lists[0][1].partition("?")[0]
    text = "".join(sorted(file.read_text() for file in javascript.PROXY.glob("*.js")))
    icon = "icon" * 1000
    template = _template(tmp_path, {first: text, "other.js": text + "\n", "favicon.ico": icon})
    files = json.loads((template / "compressed/index.json").read_text())["files"]
    ours, other = (files[f"static/lab/{name}"]["br"][1] for name in (first, "other.js"))
    assert ours < other * 0.98, (ours, other)
    url = "/user/anna/static/lab/favicon.ico"
    headers = {"content-type": "image/vnd.microsoft.icon", "content-length": str(len(icon)), "last-modified": THEN}
    answers = {url: {"headers": headers, "body": icon}}
    [kept] = _ask(answers, [{"url": url, "headers": ALL}], templates=str(tmp_path))
    assert (kept["headers"]["content-encoding"], kept["body"]) == ("br", icon)
    headers["last-modified"] = "another"
    [theirs] = _ask(answers, [{"url": url, "headers": ALL}], templates=str(tmp_path))
    assert "content-encoding" not in theirs["headers"], "most pictures of a member's own are compressed already"


@pytest.mark.parametrize(
    "theirs",
    [
        _script(**{"last-modified": "Mon, 30 Nov 2026 02:18:54 GMT"}),
        {"headers": {**_script()["headers"], "content-length": str(len(SCRIPT) + 1)}, "body": SCRIPT + "!"},
        {"headers": {"content-type": "text/javascript", "content-length": str(len(SCRIPT))}, "body": SCRIPT},
    ],
)
def test_a_member_who_has_another_version_gets_their_own(tmp_path: Path, theirs: dict[str, Any]) -> None:
    """By name, size and date it would have to be the template's."""
    _template(tmp_path, {"main.js": "x" * len(SCRIPT)})
    url = "/user/anna/static/lab/main.js"
    [found] = _ask({url: theirs}, [{"url": url, "headers": ALL}], templates=str(tmp_path))
    assert found["body"] == theirs["body"]
    assert found["headers"]["content-encoding"] == "gzip"


def test_no_members_server_changes_what_others_get(tmp_path: Path) -> None:
    """What lies on the disk is the service's: an answer never gets there."""
    _template(tmp_path, {"main.js": SCRIPT})
    evil = {**_script(), "body": "E" * len(SCRIPT)}
    answers = {"/user/ben/static/lab/main.js": evil, "/user/anna/static/lab/main.js": _script()}
    requests = [
        {"url": url, "headers": ALL} for url in ("/user/ben/static/lab/main.js", "/user/anna/static/lab/main.js")
    ]
    found = _ask(answers, requests, templates=str(tmp_path))
    assert [one["body"] for one in found] == [SCRIPT, SCRIPT]


@pytest.mark.parametrize("damage", ["shorter", "no index", "half an index", "gone"])
def test_what_a_power_cut_has_left_is_not_used(tmp_path: Path, damage: str) -> None:
    compressed = _template(tmp_path, {"main.js": SCRIPT}) / "compressed"
    if damage == "shorter":
        (compressed / "files").write_bytes(b"")
    elif damage == "no index":
        (compressed / "index.json").unlink()
    elif damage == "half an index":
        (compressed / "index.json").write_text('{"size": 12, "fil')
    else:
        (compressed / "files").unlink()
    url = "/user/anna/static/lab/main.js"
    [found] = _ask({url: _script()}, [{"url": url, "headers": ALL}], templates=str(tmp_path))
    assert (found["headers"]["content-encoding"], found["body"]) == ("gzip", SCRIPT)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text(SCRIPT)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "folder/up").symlink_to(tmp_path)
    (tmp_path / "folder/own.json").write_text(SCRIPT)
    body = """
    const { spawnSync } = require("child_process");
    return spawnSync(process.execPath, ["compress_files.js", `${given}/target`, `x/=${given}/folder`]).status;
    """
    assert javascript.run(body, str(tmp_path)) == 0
    assert list(json.loads((tmp_path / "target/index.json").read_text())["files"]) == ["x/own.json"]


def test_of_a_file_that_nobody_reads_little_is_in_memory(tmp_path: Path) -> None:
    """Forty browsers that ask for a file and read nothing of it, and forty for one that is compressed as it comes."""
    noise = "".join(chr(33 + (i * i * 7919 + i // 3) % 90) for i in range(6_000_000))
    _template(tmp_path, {"main.js": noise})
    body = """
    const { PassThrough, Writable } = require("stream");
    const { CompressedFiles } = require("./compressed_files.js");
    const { Compression } = require("./compression.js");
    const files = new CompressedFiles({ warn() {} }, { templates: given.templates, release: "/nowhere" });
    const compression = new Compression(files);
    const stuck = () => new Writable({ highWaterMark: 16384, write() {} });
    const memory = () => process.memoryUsage().rss;
    const before = memory();
    const all = [];
    const piece = Buffer.alloc(65536);
    let coded = 0;
    for (let i = 0; i < 80; i++) {
      const answer = new PassThrough();
      const modified = i % 2 ? "Mon, 30 Nov 2026 02:18:53 GMT" : "another";
      answer.statusCode = 200;
      answer.headers = { "content-type": "text/javascript", "content-length": String(given.size) };
      answer.headers["last-modified"] = modified;
      const request = { method: "GET", url: "/user/anna/static/lab/main.js", judged: { prefix: "/user/anna" },
        httpVersion: "1.1", headers: { "accept-encoding": "br, gzip" } };
      compression.consider(answer, request);
      if (answer.headers["content-encoding"]) coded += 1;
      const response = stuck();
      answer.pipe(response);
      let left = 90;
      const more = () => { while (left-- > 0 && answer.write(piece)); };
      answer.on("drain", more);
      more();
      all.push([answer, response]);
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const grown = memory() - before;
    const held = compression.turns.count("anna");
    for (const one of all.flat()) one.on("error", () => {}).destroy();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return { coded, grown, held, after: compression.turns.count("anna") };
    """
    found = javascript.run(body, {"templates": str(tmp_path), "size": len(noise)})
    assert found["coded"] == 40 + 6, (
        "from the disk for all who ask, as it comes for as many as one member's servers may have"
    )
    assert found["held"] == 6
    assert found["after"] == 0, "and they are free again once nobody is there"
    assert found["grown"] < 32 << 20


def test_a_member_whose_servers_never_come_to_an_end_leaves_turns_for_others() -> None:
    """From however many addresses they are asked."""
    body = """
    const { PassThrough } = require("stream");
    const { Compression } = require("./compression.js");
    const compression = new Compression({ find: () => null });
    return given.map((prefix) => {
      const answer = Object.assign(new PassThrough(), { statusCode: 200 });
      answer.headers = { "content-type": "text/javascript", "content-length": "5000" };
      const request = { method: "GET", url: `${prefix}/static/x.js`, judged: { prefix }, httpVersion: "1.1",
        headers: { "accept-encoding": "gzip" } };
      compression.consider(answer, request);
      answer.pipe(new PassThrough());
      return answer.headers["content-encoding"] ?? "";
    });
    """
    found = javascript.run(body, ["/user/ben", "/user/ben/work"] * 10 + ["/user/anna"])
    assert found == ["gzip"] * 6 + [""] * 14 + ["gzip"]


_PREFETCH = r"""
const { sign } = require("./gate.js");
const { isUidOf } = require("./owners.js");
const { CompressedFiles } = require("./compressed_files.js");
const { Prefetch } = require("./compression.js");
const files = new CompressedFiles({ warn() {} }, { templates: given.templates, release: "/nowhere" });
const options = { key: "k", isSecure: false };
const prefetch = new Prefetch(files, options);
const issued = Math.floor(Date.now() / 1000);
const pass = (viewer, owner, server) => sign({ viewer, viewerUid: 0, owner, ownerUid: 0, server, issued }, "b", "k");
const cookie = {
  owner: `jupyterhub4family-browser=b; jupyterhub4family-gate=${pass("root", "root", null)}`,
  guest: `jupyterhub4family-browser=b; jupyterhub4family-gate=${pass("ben", "root", "")}`,
  stolen: `jupyterhub4family-browser=other; jupyterhub4family-gate=${pass("root", "root", null)}`,
};
return given.requests.map(([url, who, prefix = "/", method = "GET"]) =>
  prefetch.fileFor({ url, method, headers: { cookie: cookie[who] } }, prefix && { prefix }) !== null);
"""


def test_an_owner_gets_jupyterlabs_files_while_the_server_starts(tmp_path: Path) -> None:
    """Root's account stands for a member's here: it exists wherever this runs."""
    _template(tmp_path, {"main.0123456789abcdef.js": SCRIPT, "index.js": SCRIPT})
    url = "/user/root/static/lab/main.0123456789abcdef.js"
    asked = [
        ([f"{url}?v=0123456789abcdef", "owner"], True),
        ([url.replace("/static", "/work/static"), "owner"], True),
        # Somebody else, be they invited or not: they wait for the server, or the hub says what there is to say.
        ([url, "guest"], False),
        ([url, "stolen"], False),
        ([url, "nobody"], False),
        ([url.replace("root", "anna"), "owner"], False),
        # The server runs: it is asked.
        ([url, "owner", "/user/root"], False),
        ([url, "owner", None], False),
        ([url, "owner", "/", "POST"], False),
        # Only names that say what is in the file.
        (["/user/root/static/lab/index.js", "owner"], False),
        ([url.replace("main", "other"), "owner"], False),
        ([url.replace("lab/", "lab/../lab/"), "owner"], False),
        ([f"{url}?v=../x", "owner"], False),
    ]
    given = {"templates": str(tmp_path), "requests": [one for one, _expected in asked]}
    assert javascript.run(_PREFETCH, given) == [expected for _one, expected in asked]


def test_a_browser_that_goes_away_closes_nothing_that_others_read(tmp_path: Path) -> None:
    """Node closes a stream's file with the stream; the next file or connection would have its number."""
    noise = random.Random(1).randbytes(1_000_000).hex()
    template = _template(tmp_path, {"main.js": noise})
    body = """
    const fs = require("fs");
    const zlib = require("zlib");
    const { PassThrough, Writable } = require("stream");
    const { CompressedFiles } = require("./compressed_files.js");
    const { Compression } = require("./compression.js");
    const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
    const files = new CompressedFiles({ warn() {} }, { templates: given.templates, release: "/nowhere" });
    const compression = new Compression(files);
    const ask = (response) => {
      const answer = new PassThrough();
      answer.statusCode = 200;
      answer.headers = { "content-type": "text/javascript", "content-length": String(given.size) };
      answer.headers["last-modified"] = given.modified;
      const request = { method: "GET", url: "/user/anna/static/lab/main.js", judged: { prefix: "/user/anna" },
        httpVersion: "1.1", headers: { "accept-encoding": "gzip" } };
      compression.consider(answer, request);
      answer.pipe(response);
      answer.end();
      return response;
    };
    const stuck = () => ask(new Writable({ highWaterMark: 16384, write() {} }));
    const gone = () => { const response = new PassThrough(); response.destroy(); return ask(response); };
    const slow = ask(new PassThrough({ highWaterMark: 16384 }));
    const [store] = files.ofMembers;
    const isOpen = (number) => fs.existsSync(`/proc/self/fd/${number}`);
    const number = store.descriptor;
    [stuck(), stuck(), gone()].forEach((one) => one.on("error", () => {}));
    const leaving = stuck().on("error", () => {});
    await wait(100);
    leaving.destroy();
    await wait(200);
    const afterOne = isOpen(number) && store.descriptor === number;
    // Another template; and somebody still reads what was of the one before it.
    fs.renameSync(given.template, `${given.template}-gone`);
    files.look();
    const found = files.find(false, "static/lab/main.js");
    const whileRead = isOpen(number);
    const parts = [];
    for await (const part of slow) parts.push(part);
    const text = zlib.gunzipSync(Buffer.concat(parts)).toString();
    return { afterOne, found, whileRead, isSame: text === given.noise, left: store.readers };
    """
    given = {
        "templates": str(tmp_path),
        "template": str(template),
        "size": len(noise),
        "modified": THEN,
        "noise": noise,
    }
    found = javascript.run(body, given)
    assert found == {"afterOne": True, "found": None, "whileRead": True, "isSame": True, "left": 2}, "two are stuck"


def test_what_is_read_no_more_is_closed(tmp_path: Path) -> None:
    template = _template(tmp_path, {"main.js": SCRIPT})
    body = """
    const fs = require("fs");
    const { CompressedFiles } = require("./compressed_files.js");
    const files = new CompressedFiles({ warn() {} }, { templates: given.templates, release: "/nowhere" });
    files.look();
    const [store] = files.ofMembers;
    const number = store.descriptor;
    const name = fs.readlinkSync(`/proc/self/fd/${number}`);
    const reader = store.read(0, 10);
    fs.renameSync(given.template, `${given.template}-gone`);
    files.look();
    const isOpen = () => fs.existsSync(`/proc/self/fd/${number}`);
    const seen = [name.endsWith("/compressed/files"), isOpen()];
    reader.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    return [...seen, isOpen()];
    """
    assert javascript.run(body, {"templates": str(tmp_path), "template": str(template)}) == [True, True, False]


def test_a_server_that_never_ends_an_answer_has_no_connection_for_it(tmp_path: Path) -> None:
    """The browser has all of the file, so nothing of its own counts what a member's server holds open."""
    _template(tmp_path, {"main.js": SCRIPT})
    body = """
    const http = require("http");
    const { CompressedFiles } = require("./compressed_files.js");
    const { Compression } = require("./compression.js");
    const files = new CompressedFiles({ warn() {} }, { templates: given.templates, release: "/nowhere" });
    const compression = new Compression(files);
    let ended = 0;
    const server = http.createServer((request, response) => {
      response.on("close", () => (ended += 1));
      response.writeHead(200, given.headers).write("f");
    });
    const agent = new http.Agent({ keepAlive: true });
    let errors = 0;
    const proxy = http.createServer((request, response) => {
      const place = { port: server.address().port, path: request.url, headers: request.headers, agent };
      const asked = http.request(place, (answer) => {
        request.judged = { prefix: "/user/anna" };
        compression.consider(answer, request);
        for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
        answer.pipe(response);
      });
      asked.on("error", () => (errors += 1)).end();
      response.on("close", () => response.writableFinished || asked.destroy()); // as http-proxy has it
    });
    for (const one of [server, proxy]) await new Promise((resolve) => one.listen(0, "127.0.0.1", resolve));
    const place = { port: proxy.address().port, path: "/user/anna/static/lab/main.js", agent: false };
    const sent = await new Promise((resolve) => {
      http.get({ ...place, headers: { "accept-encoding": "br" } }, (answer) => {
        let size = 0;
        answer.on("data", (part) => (size += part.length));
        answer.on("end", () => resolve(size));
      });
    });
    for (let i = 0; i < 80 && !ended; i++) await new Promise((resolve) => setTimeout(resolve, 100));
    server.close();
    proxy.close();
    return [sent > 0, ended, errors];
    """
    given = {"templates": str(tmp_path), "headers": _script()["headers"]}
    assert javascript.run(body, given) == [True, 1, 0]


@pytest.mark.parametrize("failure", ["no memory", "no folder", "cannot be used"])
def test_what_cannot_be_compressed_now_ends_nobody_and_leaves_nothing(tmp_path: Path, failure: str) -> None:
    template = tmp_path / "py3.11-0"
    lab = template / "env/share/jupyter/lab"
    (lab / "static").mkdir(parents=True)
    (template / "env/lib/python3.11").mkdir(parents=True)
    (lab / "static/main.js").write_text(SCRIPT)
    (template / ".complete").write_text("")
    (tmp_path / "current").symlink_to(template.name)
    if failure == "no folder":
        (lab / "themes").write_text("a damaged disk")
    body = """
    const child_process = require("child_process");
    const { spawn } = child_process;
    let started = 0;
    child_process.spawn = (program, args, options) => {
      started += 1;
      // Of no memory node does not tell by an event, as it does of all else.
      if (given.failure === "no memory") throw Object.assign(new Error("spawn ENOMEM"), { code: "ENOMEM" });
      const isNothing = given.failure === "cannot be used";
      return isNothing ? spawn("/bin/true", options) : spawn(program, args, { ...options, stdio: "ignore" });
    };
    const { CompressedFiles } = require("./compressed_files.js");
    const warned = [];
    const log = { warn: (text, why) => warned.push(why) };
    const files = new CompressedFiles(log, { templates: given.templates, release: "/nowhere" });
    files.look();
    const wait = () => new Promise((resolve) => setTimeout(resolve, 50));
    for (let i = 0; i < 200 && files.child; i++) await wait();
    for (let i = 0; i < 4; i++) await wait();
    files.look();
    return { started, warned };
    """
    found = javascript.run(body, {"templates": str(tmp_path), "failure": failure})
    warned = {"no memory": ["ENOMEM"], "no folder": [1], "cannot be used": []}[failure]
    assert found == {"started": 1, "warned": warned}, "and it is tried again ten minutes later"
    assert sorted(file.name for file in template.iterdir()) == [".complete", "env"]
