"""common.accounts and common.settings: any name and any settings file give a value or a sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.common.errors import ConfigurationError, RefusedError
from jupyterhub4family.common.settings.model import Settings, parse_settings
from jupyterhub4family.common.system.accounts import check_name, is_ordinary_uid
from tests.unit.properties import thorough

NAMES = st.text() | st.from_regex(r"[a-zA-Z_0-9 ./\n-]{1,40}")


@thorough
@given(NAMES)
def test_a_name_that_passes_is_harmless_everywhere(name: str) -> None:
    try:
        assert check_name(name) == name
    except RefusedError as error:
        assert error.message.isprintable() and error.hint.isprintable() and len(str(error)) < 300
        return
    assert re.fullmatch("[a-z][a-z0-9_-]{0,31}", name, re.ASCII)
    # Neither an option, nor a path, nor a list, nor a pattern; and gpasswd, sudo and runuser take it as it is.
    assert not set(name) & set("/.:,*?[]!%#=~$&;|<>()'\"\\ \n\0")


@thorough
@given(st.integers())
def test_no_uid_of_the_system_is_ordinary(uid: int) -> None:
    if is_ordinary_uid(uid):
        assert 1000 <= uid < 2**32 - 1 and not 60000 <= uid <= 65535


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.lists(st.integers(), max_size=2)
)
KEYS = st.sampled_from(list(Settings.__dataclass_fields__)) | st.text(max_size=12) | st.integers() | st.none()


@thorough
@given(
    st.dictionaries(
        KEYS, PLAIN | st.integers(1000, 66000) | st.sampled_from(["lan", "local", "cron", "auto"]), max_size=6
    )
)
def test_settings_are_valid_or_refused_with_a_sentence(mapping: dict[Any, Any]) -> None:
    try:
        settings = parse_settings(mapping, "config.yaml")
    except ConfigurationError as error:
        assert error.message.startswith("config.yaml: ")
        return
    ports = (settings.port, settings.hub_port)
    assert len(set(ports)) == 2 and all(type(port) is int and 1024 <= port <= 65535 for port in ports)
    assert settings.listen in ("lan", "local") and settings.supervisor in ("auto", "systemd", "cron")
