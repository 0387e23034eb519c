"""For tests of what runs as the member."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.user.template import TEMPLATE_ID, Home, make_template


@pytest.fixture(scope="module")
def small_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `env` of a template; nobody may change it."""
    return make_template(tmp_path_factory.mktemp("template") / TEMPLATE_ID)


@pytest.fixture
def home(tmp_path: Path, small_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A member's home without an environment, and a service with a template."""
    made = Home(tmp_path, small_template, monkeypatch)
    yield made
    if made.home.exists():
        assert (made.home / "work.ipynb").read_text("utf-8") == "precious", "notebooks are never touched"
