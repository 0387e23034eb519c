"""hub/first_page.py: what the browser of somebody who waits for their own server fetches ahead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.hub import first_page
from tests.unit.helpers import DATA

SHIPPED = DATA / "usr/share/jupyterhub4family/first-page.json"
FILES = ["main.1a2b.js?v=1a2b", "jlab_core.3c4d.js?v=3c4d"]


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template whose files the proxy has compressed."""
    directory = tmp_path / "py3.11-1"
    (directory / first_page.STATIC).mkdir(parents=True)
    (directory / first_page.STATIC / "main.1a2b.js").write_text("")
    (directory / "compressed").mkdir()
    (directory / "compressed/index.json").write_text("{}")
    (tmp_path / "current").symlink_to("py3.11-1")
    (tmp_path / "lists.json").write_text(json.dumps([["main.0000.js?v=0"], FILES]))
    monkeypatch.setattr(paths, "CURRENT_TEMPLATE", tmp_path / "current")
    monkeypatch.setattr(first_page, "LISTS", tmp_path / "lists.json")
    return directory


def _files(viewer: str | None = "anna", made_from: str = "") -> list[str]:
    spawner: Any = SimpleNamespace(user=SimpleNamespace(name="anna"), made_from=made_from)
    return first_page.first_page_files(viewer and SimpleNamespace(name=viewer), spawner)


@pytest.mark.parametrize("made_from", ["", "py3.11-1"])
def test_an_owner_fetches_the_files_of_the_template(template: Path, made_from: str) -> None:
    assert _files(made_from=made_from) == FILES


def test_nobody_else_does_nor_an_environment_of_another_template(template: Path) -> None:
    assert _files("ben") == _files(None) == _files(made_from="py3.11-0") == []


@pytest.mark.parametrize("gone", ["compressed/index.json", f"{first_page.STATIC}/main.1a2b.js"])
def test_nothing_is_fetched_that_the_proxy_has_not(template: Path, gone: str) -> None:
    """Each of these requests would be the hub's else, forty of them while it is at work."""
    (template / gone).unlink()
    assert _files() == []


@pytest.mark.parametrize("text", [None, "", "[[", "{}"])
def test_a_list_that_is_not_there_is_no_error(template: Path, text: str | None) -> None:
    first_page.LISTS.unlink()
    if text is not None:
        first_page.LISTS.write_text(text)
    assert _files() == []


def test_the_lists_name_what_the_proxy_serves() -> None:
    """By proxy/compression.js only names that say what is in the file."""
    lists = json.loads(SHIPPED.read_text())
    assert lists
    # An extension's are told with JupyterLab's page (proxy/first_page.js), beside what its first script is called.
    entry = re.compile(r"(?:@[a-z-]+/)?[a-z_-]+/static/remoteEntry\.[0-9a-f]{12,}\.js")
    for names in lists:
        if not names[0].startswith("main."):
            assert entry.fullmatch(names.pop(0))
        assert len(names) == len(set(names))
        assert all(re.fullmatch(r"[A-Za-z0-9_~-]+\.([0-9a-f]{12,})\.js\?v=\1", name) for name in names), names
