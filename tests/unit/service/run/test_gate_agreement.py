"""The gate's two sides, hub.gate_pass and proxy/gate.js: the proxy reads passes and addresses as the hub means them.

Not among the hub's tests: a release's Python, with which these run on each Debian, has neither node nor hypothesis.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyterhub4family.hub import gate_pass
from jupyterhub4family.hub.gate_pass import Pass
from tests.unit import javascript
from tests.unit.helpers import ROOT

VECTORS = json.loads((ROOT / "tests/unit/gate-vectors.json").read_text("utf-8"))
KEY = VECTORS["key"]


def pass_of(vector: dict[str, Any]) -> Pass:
    given = vector["pass"]
    names = ("viewer", "viewerUid", "owner", "ownerUid", "server", "issued")
    return Pass(*(given[name] for name in names))


def test_the_proxy_reads_an_address_as_we_do() -> None:
    """The address that we lead to belongs to the owner for whom we have looked, by the proxy's own table of routes."""
    body = """
    const { routeOf } = require("./gate.js");
    return given.map((url) => {
      const path = decodeURIComponent(new URL(url, "http://example.com").pathname); // as configurable-http-proxy does
      const [, user, owner, server] = path.split("/");
      return [routeOf(`/${user}/${owner}`), routeOf(server ? `/${user}/${owner}/${server}` : `/${user}/${owner}`)];
    });
    """
    good = [one for one in VECTORS["addresses"] if one["owner"]]
    for vector, (default, named) in zip(good, javascript.run(body, [one["url"] for one in good])):
        assert default == {"kind": "member", "owner": vector["owner"], "server": ""}, vector
        assert named == {"kind": "member", "owner": vector["owner"], "server": vector["server"]}, vector


@pytest.mark.parametrize("vector", VECTORS["passes"], ids=lambda one: one["path"])
def test_both_sides_sign_alike(vector: dict[str, Any]) -> None:
    given_pass, browser = pass_of(vector), vector["browser"]
    assert given_pass.path == vector["path"]
    value = gate_pass.sign(given_pass, browser, KEY)
    body = """
    const { sign, verify } = require("./gate.js");
    const { value, browser, key, pass } = given;
    const now = pass.issued + 5;
    return [verify(value, browser, key, now), verify(sign(pass, browser, key), browser, key, now)];
    """
    read, own = javascript.run(body, {**vector, "value": value, "key": KEY})
    assert read == own == vector["pass"]
