"""proxy/routes.js: every path is divided as configurable-http-proxy divides it."""

from __future__ import annotations

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import javascript
from tests.unit.service.run.test_routes import _FIND, as_theirs


@settings(max_examples=10, deadline=None)
@given(paths=st.lists(st.text("/ab.\n\u2028", max_size=12), min_size=200, max_size=200))
def test_all_of_them(paths: list[str]) -> None:
    assert javascript.run(_FIND, paths)[1] == [as_theirs(path) for path in paths]
