"""hub.gate_pass: wherever a browser asks to be led, it is led below the member's address whom we have looked at.

Not among the hub's tests: a release's Python, with which these run on each Debian, has no hypothesis.
"""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.hub import gate_pass


@given(st.text(alphabet="/userbn.%25e\\?#: \u00fc\n", max_size=30))
def test_whatever_is_asked_for_we_lead_below_a_members_address(tail: str) -> None:
    for untrusted in (tail, f"/user/{tail}", f"/user/ben/{tail}"):
        found = gate_pass.parse_address(untrusted)
        if found is not None:
            path = found.url.partition("?")[0]
            assert path.startswith(gate_pass.server_path(found.owner, "")) and found.owner not in ("", ".", "..")
            assert found.url.isascii() and found.url.isprintable() and not set(found.url) & set(" \\#")
            assert not {".", ".."} & set(path.lower().replace("%2e", ".").split("/"))
