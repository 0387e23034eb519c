"""proxy/first_page.js: which scripts a browser fetches with JupyterLab's page, and that the page stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.unit import javascript

MAIN = "main.0123456789abcdef.js?v=0123456789abcdef"
ENTRY = "static/remoteEntry.00112233445566aa.js"
LISTS = [[MAIN, "core.js?v=1", "7.js?v=2"], ["other.js", "8.js"], [f"@theirs/one/{ENTRY}", "9.js?v=3"]]
ONE = {"name": "@theirs/one", "load": ENTRY, "extension": "./extension"}
#: What the page's header names, below /user/anna.
ALL = [f"static/lab/{MAIN}", "static/lab/core.js?v=1", "static/lab/7.js?v=2"]

#: A server and a proxy that does with its answers what http-proxy does; each of `given.cases` is asked for once.
_AROUND = r"""
const http = require("http");
const { EventEmitter } = require("events");
const { guardFirstPage } = require("./first_page.js");
const events = new EventEmitter();
guardFirstPage({ proxy: events }, null, given.lists);
let now;
const server = http.createServer((request, response) => {
  const { status, headers, pieces } = now;
  response.writeHead(status, headers);
  response.flushHeaders();
  const send = ([one, ...more]) => {
    if (one === undefined) return response.end();
    response.write(one);
    return setTimeout(send, 20, more);
  };
  setTimeout(send, 5, pieces);
});
const proxy = http.createServer((request, response) => {
  const { method, url, headers } = request;
  http.request({ port: server.address().port, method, path: url, headers, agent: false }, (answer) => {
    request.judged = { prefix: now.prefix };
    events.emit("proxyRes", answer, request, response);
    for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
    response.statusCode = answer.statusCode;
    answer.pipe(response);
  }).end();
});
for (const one of [server, proxy]) await new Promise((resolve) => one.listen(0, "127.0.0.1", resolve));
const ask = ({ url, method, asked }) => new Promise((resolve, reject) => {
  const place = { port: proxy.address().port, path: url, method, headers: asked, agent: false };
  http.request(place, (answer) => {
    const parts = [];
    answer.on("data", (part) => parts.push(part));
    answer.on("end", () => resolve({ link: answer.headers.link ?? "", body: Buffer.concat(parts).toString() }));
  }).on("error", reject).end();
});
const found = [];
for (now of given.cases) found.push(await ask(now));
server.close();
proxy.close();
return found;
"""


def _page(prefix: str = "/user/anna", below: str = "static/lab", main: str = MAIN, **config: Any) -> str:
    """As JupyterLab writes it."""
    settings = {"fullLabextensionsUrl": f"{prefix}/lab/extensions", "token": "", **config}
    text = json.dumps(settings).replace("<", "\\u003c").replace(">", "\\u003e")
    return (
        '<!doctype html><html lang="en"><head><title>JupyterLab Ä</title>'
        f'<script id="jupyter-config-data" type="application/json">{text}</script>'
        f'<script defer="defer" src="{prefix}/{below}/{main}"></script></head><body></body></html>'
    )


def _case(page: str, url: str = "/user/anna/lab", **given: Any) -> dict[str, Any]:
    headers = {"content-type": "text/html; charset=UTF-8"}
    always = {"prefix": "/user/anna", "asked": {}, "method": "GET", "status": 200, "headers": headers, "pieces": [page]}
    return {**always, "url": url, **given}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """The scripts that each answer's header names. The page itself has to be the same, whatever happens."""
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps(LISTS))

    def ask(*cases: dict[str, Any]) -> list[list[str]]:
        answers = javascript.run(_AROUND, {"lists": str(lists), "cases": cases})
        assert len(answers) == len(cases)
        return [_scripts(case, answer) for case, answer in zip(cases, answers)]

    return ask


def _scripts(case: dict[str, Any], answer: dict[str, str]) -> list[str]:
    assert answer["body"] == ("" if case["method"] == "HEAD" else "".join(case["pieces"]))
    links = [one for one in answer["link"].split(", ") if one]
    assert all(one.startswith("<") and one.endswith(">; rel=preload; as=script") for one in links), links
    return [one[1:].partition(">")[0] for one in links]


Ask = Callable[..., "list[list[str]]"]


def test_a_browser_is_told_with_the_page_what_it_will_ask_for(ask: Ask) -> None:
    urls = ("/user/anna/lab", "/user/anna/lab?reset", "/user/anna/lab/tree/a.ipynb", "/user/anna/doc")
    named = _case(_page("/user/anna/work"), "/user/anna/work/lab", prefix="/user/anna/work")
    *found, of_named = ask(*(_case(_page(), url) for url in urls), named)
    assert found == [[f"/user/anna/{one}" for one in ALL]] * len(urls)
    assert of_named == [f"/user/anna/work/{one}" for one in ALL], "a named server has its own addresses"


def test_extensions_come_before_the_largest_script_and_what_they_ask_for_last(ask: Ask) -> None:
    own = {"name": "her-own", "load": "static/remoteEntry.ffeeddccbbaa0099.js"}
    main, *others = ALL
    below = "lab/extensions"
    expected = [main, f"{below}/@theirs/one/{ENTRY}", f"{below}/her-own/{own['load']}", *others]
    expected.append(f"{below}/@theirs/one/static/9.js?v=3")
    assert ask(_case(_page(federated_extensions=[ONE, own]))) == [[f"/user/anna/{one}" for one in expected]]


def test_any_other_page_comes_as_it_is(ask: Ask) -> None:
    html = "text/html"
    cases = [
        # Another JupyterLab, and other pages.
        _case(_page(main="main.ffff456789abcdef.js?v=ffff456789abcdef")),
        _case("<html></html>"),
        _case(""),
        _case(_page(), "/user/anna/tree"),
        _case(_page(), "/user/anna/api/lab"),
        _case(_page(), "/user/anna/files/lab"),
        _case(_page(), "/user/anna/laboratory"),
        _case(_page(), method="HEAD"),
        _case(_page(), status=404),
        _case(_page(), headers={"content-type": "text/plain"}),
        _case(_page(), headers={"content-type": html, "content-encoding": "x"}),
        # Another proxy stands in front, and may give up an answer with long headers.
        _case(_page(), asked={"X-Forwarded-For": "192.0.2.1"}),
        _case(_page(), asked={"via": "1.1 cache"}),
        # Scripts come from elsewhere: whoever set that up knows why.
        _case(_page("https://example.org")),
        _case(_page(below="static/other")),
        # A page names its own server's scripts, not another's nor the hub's.
        _case(_page("/user/ben")),
        _case(_page("/hub"), "/hub/lab", prefix="/"),
        _case(_page(""), "/lab", prefix="/"),
        _case(_page("/user/anna%0d"), "/user/anna%0d/lab", prefix="/user/anna%0d"),
    ]
    assert ask(*cases) == [[]] * len(cases)


def test_an_extension_of_an_odd_name_is_left_out(ask: Ask) -> None:
    """A page's configuration holds what its member wrote, and others may open it."""
    odd: list[Any] = [
        "one",
        [None, 1, "one", {}],
        [{"name": "../../api", "load": ENTRY}],
        [{"name": "one/../../../hub", "load": ENTRY}],
        [{"name": "one>; rel=preload, <https://example.org", "load": ENTRY}],
        [{"name": "one", "load": "../../../../hub/logout"}],
        [{"name": "one\r\nset-cookie: a=b", "load": ENTRY}],
        [{"name": ["one"], "load": {"a": 1}}],
    ]
    cases = [_case(_page(federated_extensions=one)) for one in odd]
    cases.append(_case(_page(federated_extensions=[ONE], fullLabextensionsUrl="https://example.org/x")))
    assert ask(*cases) == [[f"/user/anna/{one}" for one in ALL]] * len(cases)
    [many] = ask(_case(_page(federated_extensions=[{"name": f"e{number}", "load": ENTRY} for number in range(500)])))
    assert len(many) == len(ALL) + 20, "there is an end to them"
    name = {"name": "e" * 2000, "load": ENTRY}
    [long] = ask(_case(_page(federated_extensions=[name] * 10)))
    assert len(", ".join(long)) < 8000, "and to the header"
    assert long[0] == f"/user/anna/{ALL[0]}"


def test_a_page_that_comes_in_pieces_comes_whole(ask: Ask) -> None:
    """Only the first one is looked at: nobody waits for the rest."""
    page = _page()
    header = "</user/anna/x.js>; rel=preload; as=script"
    halves, long, known = ask(
        _case(page, pieces=[page[:50], page[50:]]),
        _case(page, pieces=[page, "<p>more</p>" * 20_000]),
        _case(page, headers={"content-type": "text/html", "link": header}),
    )
    assert halves == []
    assert long == [f"/user/anna/{one}" for one in ALL]
    assert known == ["/user/anna/x.js", *long], "a server's own header stays"


def test_without_the_lists_the_portal_works(tmp_path: Path) -> None:
    body = """
    const { EventEmitter } = require("events");
    const { guardFirstPage } = require("./first_page.js");
    const proxy = { proxy: new EventEmitter() };
    const warned = [];
    guardFirstPage(proxy, { warn: (...words) => warned.push(words) }, given);
    return [warned.length, proxy.proxy.listenerCount("proxyRes")];
    """
    (tmp_path / "half.json").write_text("[[")
    for name in ("gone.json", "half.json"):
        assert javascript.run(body, str(tmp_path / name)) == [1, 0]


def test_a_browser_that_goes_away_before_the_page_comes_ends_nothing(tmp_path: Path) -> None:
    body = """
    const { PassThrough } = require("stream");
    const { EventEmitter } = require("events");
    const { guardFirstPage } = require("./first_page.js");
    const events = new EventEmitter();
    guardFirstPage({ proxy: events }, null, given);
    const answer = Object.assign(new PassThrough(), { statusCode: 200, headers: { "content-type": "text/html" } });
    const request = { method: "GET", url: "/user/anna/lab", judged: { prefix: "/user/anna" } };
    events.emit("proxyRes", answer, { ...request, httpVersion: "1.1", rawHeaders: [] });
    const response = new PassThrough();
    answer.pipe(response);
    response.destroy();
    answer.write("<html>");
    await new Promise((resolve) => setTimeout(resolve, 50));
    return answer.destroyed;
    """
    (tmp_path / "lists.json").write_text("[]")
    assert javascript.run(body, str(tmp_path / "lists.json")) is True
