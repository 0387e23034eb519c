"""proxy/routes.js: where an address leads is found as configurable-http-proxy finds it, and at once."""

from __future__ import annotations

import re

import pytest

from tests.unit import javascript

_FIND = """
const { findQuickly } = require("./routes.js");
const proxy = { _routes: { urls: { get: (parts) => parts }, getTarget: async () => "theirs" } };
findQuickly(proxy);
const began = performance.now();
const found = await Promise.all(given.map((path) => proxy._routes.getTarget(path)));
return [performance.now() - began, found];
"""


def as_theirs(path: str) -> list[str]:
    """As lib/trie.js of configurable-http-proxy divides a path (`stringToPath`)."""
    trimmed = re.sub(r"^[/]+|[/]+\Z", "", path)
    return trimmed.split("/") if trimmed else []


def test_paths_are_divided_as_before() -> None:
    paths = [
        "",
        "/",
        "//",
        "/hub",
        "/hub/",
        "//hub//",
        "/user/anna/",
        "/user//anna",
        "/user/anna//lab///",
        "a/b",
        "/a\n/b",
    ]
    assert javascript.run(_FIND, paths)[1] == [as_theirs(path) for path in paths]


@pytest.mark.parametrize("path", ["/hub/a" + "/" * 15000 + "a", "/" * 15000, "/a" * 7500, "/hub/" + "%2F" * 5000])
def test_no_address_takes_long(path: str) -> None:
    """A second and a half, before: of every device, without an account."""
    milliseconds, _found = javascript.run(_FIND, [path] * 20)
    assert milliseconds < 200
