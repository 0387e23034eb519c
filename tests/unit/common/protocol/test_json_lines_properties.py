"""common.protocol.json_lines: whatever bytes come, there is a request or a UsageError."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import example, given
from hypothesis import strategies as st

from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.protocol.json_lines import clean_text, read_request
from tests.unit.properties import thorough

#: What JSON can say. Surrogates are left in: JSON can spell them.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
#: Bytes that are nearly JSON.
NEARLY = st.lists(st.sampled_from(list('{}[]:,"\\ntrue0123.eE+-u \n\0')), max_size=40).map(
    lambda parts: "".join(parts).encode()
)


@thorough
@given(st.binary(max_size=300) | NEARLY)
@example(b'{"a":1e999}')
@example(b'{"a":-0}')
def test_any_bytes_are_a_request_or_a_usage_error(raw: bytes) -> None:
    try:
        request = read_request(io.BytesIO(raw))
    except UsageError:
        return
    assert isinstance(request, dict)
    assert json.loads(raw) == request or "Infinity" in json.dumps(request)


@thorough
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_every_object_survives_the_door(request_: dict[str, Any]) -> None:
    assert read_request(io.BytesIO(json.dumps(request_).encode())) == request_


@thorough
@given(st.text(max_size=80))
def test_clean_text_is_safe_for_one_line_of_a_log(text: str) -> None:
    try:
        clean = clean_text(text, "the address", 64)
    except UsageError:
        return
    assert len(clean) <= 64 and len(f"x{clean}x".splitlines()) == 1
    clean.encode("utf-8")
