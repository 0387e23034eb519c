"""common.i18n.safe_text, with any text at all."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import from_json
from tests.unit.properties import thorough

#: Said in another way than in the module itself.
CONTROL = re.compile("[^\n\t -~\u00a0-\u061b\u061d-\u200a\u200c-\u200d\u2010-\u2027\u202f-\ud7ff\ue000-\U0010ffff]")
#: Much of what does something to terminals.
TEXT = st.text(
    st.characters()
    | st.sampled_from("\x1b[]0;m\x07\x9b\r\n\u202e\u2066\udc80")
    | st.characters(categories=("Cc", "Cs"))
)


@thorough
@given(TEXT)
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    shown = safe_text.printable(text)
    assert not CONTROL.search(shown) and "\x1b" not in shown
    assert safe_text.printable(shown) == shown and len(shown) <= len(text)
    shown.encode("utf-8")
    assert "\n" not in safe_text.one_line(text) and len(safe_text.one_line(text)) <= 300


@thorough
@given(st.recursive(TEXT | st.integers() | st.floats(), lambda inner: st.dictionaries(TEXT, inner, max_size=4)))
def test_no_sentence_from_elsewhere_has_any(untrusted: object) -> None:
    if isinstance(untrusted, dict):
        untrusted = {"id": "{a} and {b}", "values": dict(zip("ab", untrusted.values()))}
    assert not CONTROL.search(from_json(untrusted))
