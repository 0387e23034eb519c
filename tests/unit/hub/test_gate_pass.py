"""hub.gate_pass: which addresses are ones below a server, and whose a browser is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyterhub4family.hub import gate_pass
from tests.unit.helpers import ROOT

VECTORS = json.loads((ROOT / "tests/unit/gate-vectors.json").read_text("utf-8"))
KEY = VECTORS["key"]


@pytest.mark.parametrize("vector", VECTORS["addresses"], ids=lambda one: repr(one["next"]))
def test_addresses(vector: dict[str, Any]) -> None:
    found = gate_pass.parse_address(vector["next"])
    if vector["owner"] is None:
        assert found is None
    else:
        assert found is not None
        assert (found.owner, found.server, found.url) == (vector["owner"], vector["server"], vector["url"])
        assert gate_pass.parse_address(found.url) == found, "tidied up once is enough"


def test_a_browser_is_one_members() -> None:
    value = gate_pass.new_browser("anna", KEY)
    assert value != gate_pass.new_browser("anna", KEY)
    assert gate_pass.is_browser_of(value, "anna", KEY)
    for wrong in ("", "x", ".", value + "x", value[1:], value.replace(".", ""), "ü.ü", value.swapcase()):
        assert not gate_pass.is_browser_of(wrong, "anna", KEY), wrong
    assert not gate_pass.is_browser_of(value, "ben", KEY) and not gate_pass.is_browser_of(value, "anna", KEY[1:])
    assert gate_pass.browser_cookie(True).startswith("__Host-") and gate_pass.browser_cookie(False)[0] != "_"
