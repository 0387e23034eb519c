"""user.server: whatever the hub sends, a server gets what the list allows, and its log stays in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.paths import MEMBER_LOGS
from jupyterhub4family.user.server import HUB_VARIABLES, log_path, server_environment
from tests.unit.helpers import account
from tests.unit.properties import thorough

KEYS = (
    st.sampled_from(sorted(HUB_VARIABLES)) | st.text() | st.sampled_from(["PATH", "HOME", "LD_PRELOAD", "PYTHONPATH"])
)
MEMBER = account(home=Path("/home/anna"))
BASICS = server_environment(MEMBER, {})


@thorough
@given(st.dictionaries(KEYS, st.text() | st.integers() | st.none() | st.lists(st.text()), max_size=8))
def test_variables_are_those_of_the_list_or_the_members_own(sent: dict[str, object]) -> None:
    try:
        got = server_environment(MEMBER, sent)
    except UsageError:
        assert any(not isinstance(value, str) or "\0" in value for value in sent.values())
        return
    assert {key: got[key] for key in BASICS} == BASICS
    assert {key: value for key, value in got.items() if key not in BASICS} == {
        key: value for key, value in sent.items() if key in HUB_VARIABLES
    }


@thorough
@given(st.text())
def test_a_log_is_directly_in_its_folder(name: str) -> None:
    path = log_path(MEMBER, name)
    assert path.parent == Path("/home/anna") / MEMBER_LOGS
    assert path.name.startswith("server") and path.name.endswith(".log") and len(path.name.encode()) < 255
    assert path.name.isprintable() and "/" not in path.name
