"""proxy/broken.js: who sends no request learns why, above all a browser that holds too many cookies."""

from __future__ import annotations

import pytest

from tests.unit import javascript

_ASK = """
const http = require("http");
const net = require("net");
const { answerBroken } = require("./broken.js");
const server = http.createServer((request, response) => response.end("fine"));
server.on("clientError", answerBroken);
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const found = await new Promise((done) => {
  const socket = net.connect(server.address().port, "127.0.0.1", () => {
    socket.write(given.first);
    for (let i = 0; i < given.count; i++) socket.write(given.then);
  });
  let heard = "";
  const over = () => done(heard);
  socket.on("data", (chunk) => (heard += chunk));
  socket.on("end", over);
  socket.on("error", over);
  setTimeout(over, 5000).unref();
  socket.on("data", () => setTimeout(over, 300));
});
server.close();
server.closeAllConnections();
return found;
"""
START = "GET / HTTP/1.1\r\nHost: family\r\n"


def ask(first: str, then: str = "", count: int = 0) -> str:
    """What is heard when this was sent."""
    found: str = javascript.run(_ASK, {"first": first, "then": then, "count": count})
    return found


@pytest.mark.parametrize("count", [5, 180], ids=["a few", "as many as a browser sends"])
def test_too_many_cookies_are_a_page_that_says_what_to_do(count: int) -> None:
    """Whoever serves a page at another port of this computer can give them to a browser."""
    heard = ask(f"{START}Cookie: a=1", f"; b={'x' * 4000}", count)
    assert heard.startswith("HTTP/1.1 431 ") and "frame-ancestors 'none'" in heard
    assert "Remove the cookies of this address" in heard and "die Cookies dieser Adresse" in heard


def test_what_is_no_request_is_answered_as_ever() -> None:
    assert ask("nonsense\r\n\r\n") == "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
    assert ask(f"{START}\r\n").endswith("fine")


def test_a_head_without_end_is_not_read_for_ever() -> None:
    assert "431" in ask(f"{START}Cookie: ", "x" * 65536, 100)[:20]
