"""common.addresses: a lock with addresses is made of what locks/ knows and of what one page of the index tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.python import addresses, offline
from jupyterhub4family.common.python.venv import make_environment
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import ROOT

HUB = ROOT / "locks" / "hub.txt"
PLACE = addresses._reference_place((ROOT / "locks" / "pylock.hub.toml").read_text("utf-8"))
ADDRESS = "https://files.example/packages/"


class Index:
    """Stands in for uv: tells where the reference lies, and fails to install what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.url = ADDRESS + PLACE
        self.unreachable = False
        self.failures: dict[str, str] = {}
        self.installed: list[str] = []
        self.words: list[str] = []
        self.asked: list[Call] = []
        self.cache = directory / "cache"
        self.wheels = directory / "wheels"
        self.reported: list[str] = []
        self.environment = directory / "env"
        monkeypatch.setattr(addresses, "REFERENCE_LOCK", ROOT / "locks" / "pylock.hub.toml")
        monkeypatch.setattr(offline, "WHEELS", self.wheels)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        if "compile" in call.args:
            self.asked.append(call)
            if self.unreachable:
                raise ProgramError("uv failed (status 2): dns error")
            return CompletedProcess(0, f'[[packages]]\nwheels = [{{ url = "{self.url}", size = 1 }}]\n', "")
        if "sync" in call.args:
            lock = Path(call.args[-1])
            assert "--require-hashes" in call.args and "--no-build" in call.args
            source = "offline" if "--no-index" in call.args else lock.name
            if source in self.failures:
                raise ProgramError(self.failures[source])
            self.installed.append(source)
            self.words = call.args
        return CompletedProcess(0, "", "")

    def make(self, lock: Path = HUB) -> None:
        make_environment("/uv", self.environment, lock, "JupyterHub", self.cache, report=self.reported.append)

    def written(self) -> str:
        return (self.cache / "pylock.toml").read_text("utf-8")


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Index:
    return Index(monkeypatch, tmp_path)


@pytest.mark.parametrize("name", ["hub", "member"])
def test_every_place_gets_the_address_that_the_index_tells(index: Index, name: str) -> None:
    index.make(ROOT / "locks" / f"{name}.txt")
    assert index.installed == ["pylock.toml"] and index.reported == []
    places = (ROOT / "locks" / f"pylock.{name}.toml").read_text("utf-8")
    assert index.written() == places.replace('url = "', f'url = "{ADDRESS}').replace(
        "\nwheels =", f'\nindex = "{ADDRESS}"\nwheels ='
    )
    assert index.words[-3:-1] == ["--index", ADDRESS], "where uv keeps what it has fetched, for hub and members alike"
    (asked,) = index.asked
    assert (index.cache / "reference.txt").read_text("ascii").startswith("sudospawner==")
    assert {"--no-deps", "--no-build"} < set(asked.args) and asked.environment["UV_CACHE_DIR"] == str(index.cache)


@pytest.mark.parametrize(
    "url",
    [
        "https://mirror.example/pypi/packages/packages/{place}",
        "http://127.0.0.1:3141/root/{place}",
        "file:///srv/mirror/{place}",
    ],
)
def test_mirrors_that_keep_the_places_serve(index: Index, url: str) -> None:
    index.url = url.format(place=PLACE)
    index.make()
    assert index.installed == ["pylock.toml"]
    assert f'url = "{index.url}"' in index.written()


@pytest.mark.parametrize(
    "url",
    [
        "https://mirror.example/+f/0f8/0ee90f4fb8927/{name}",
        "https://mirror.example/{name}",
        "{place}",
        "../{place}",
        "https://mirror.example/x{place}",
        "https://mirror.example/a b/{place}",
        "https://mirror.example/'/{place}",
        "https://mirror.example/\\/{place}",
        "https://anna:secret@mirror.example/{place}",
        "",
    ],
)
def test_other_places_and_odd_addresses_are_for_the_longer_way(index: Index, url: str) -> None:
    index.url = url.format(place=PLACE, name=PLACE.rpartition("/")[2])
    index.make()
    assert index.installed == ["hub.txt"]
    (reported,) = index.reported
    assert "longer way" in reported and "other places" in reported


def test_an_address_cannot_bring_anything_else_into_the_lock(index: Index) -> None:
    """An index that wanted to: what it says is within one string of TOML, and hashes are ours."""
    index.url = f'https://a/", hashes = {{}} }}, {{ url = "https://evil/{PLACE}'
    index.make()
    text = index.written()
    assert text.count("hashes = {") == text.count("url = ") and 'url = "https://evil/' in text
    assert "https://a/" not in text


@pytest.mark.parametrize("reason", ["404 Not Found", "Hash mismatch for `six==1`", "dns error"])
def test_whatever_goes_wrong_the_lock_without_addresses_serves(index: Index, reason: str) -> None:
    index.failures["pylock.toml"] = f"uv failed (status 2):\n  {reason}"
    index.make()
    assert index.installed == ["hub.txt"]
    (reported,) = index.reported
    assert reason in reported and "\n" not in reported


def test_an_index_that_cannot_be_asked(index: Index) -> None:
    index.unreachable = True
    index.make()
    assert index.installed == ["hub.txt"] and "dns error" in index.reported[0]


def test_when_both_ways_fail_the_last_failure_is_told(index: Index) -> None:
    index.failures = {"pylock.toml": "404", "hub.txt": "hash mismatch"}
    with pytest.raises(ProgramError, match="JupyterHub could not be fetched: hash mismatch"):
        index.make()


def test_a_full_disk_is_not_tried_twice(index: Index) -> None:
    index.failures["pylock.toml"] = "No space left on device (os error 28)"
    with pytest.raises(ProgramError, match="No space left"):
        index.make()
    assert index.reported == [] and index.installed == []


def test_a_full_disk_is_told_where_packages_were_brought_along(index: Index) -> None:
    index.wheels.mkdir()
    index.failures["offline"] = "No space left on device (os error 28)"
    with pytest.raises(ProgramError, match="JupyterHub could not be fetched: No space left"):
        index.make()
    assert index.reported == [] and index.installed == [] and index.asked == []


def test_what_was_brought_along_needs_no_address(index: Index) -> None:
    index.wheels.mkdir()
    index.make()
    assert index.installed == ["offline"] and index.asked == []


def test_what_was_brought_along_and_is_older_is_no_hindrance(index: Index) -> None:
    index.wheels.mkdir()
    index.failures["offline"] = "not found"
    index.make()
    assert index.installed == ["pylock.toml"]


def test_without_a_lock_with_addresses(index: Index, tmp_path: Path) -> None:
    (tmp_path / "hub.txt").write_text("six==1\n", "ascii")
    index.make(tmp_path / "hub.txt")
    assert index.installed == ["hub.txt"] and len(index.reported) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        'wheels = [\n    { url = "six.whl", size = 1 },\n]\n',
        f'wheels = [\n    {{ url = "{PLACE}", size = 1 }},\n    {{ url = "https://evil/six.whl", size = 1 }},\n]\n',
    ],
)
def test_a_damaged_lock_is_refused(text: str) -> None:
    with pytest.raises(ProgramError, match="damaged"):
        addresses.with_addresses(text, "https://files.example/")
