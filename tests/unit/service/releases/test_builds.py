"""service.builds: whatever happens while a tree is built, the one in use stays whole and in use."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import stat
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.paths import COMPLETE_MARKER
from jupyterhub4family.common.python import offline
from jupyterhub4family.common.system.files import take_lock
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.service.releases import builds
from jupyterhub4family.service.releases.builds import Tree, ensure


class Workshop:
    """A small tree, what fills it, and everything around it in a folder of the test's own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parent = directory / "releases"
        self.lock = directory / "lock.txt"
        self.cache = directory / "cache"
        self.state = directory / "state"
        for made in (self.cache, self.state):
            made.mkdir()
        self.lock.write_text("one==1\n", "utf-8")
        self.builds = 0
        self.failure: BaseException | None = None
        monkeypatch.setattr(paths, "CACHE", self.cache)
        monkeypatch.setattr(paths, "STATE", self.state)
        # The whole machine's disks would be waited for.
        monkeypatch.setattr(os, "sync", lambda: None)
        self.tree = Tree("release", self.parent, (self.lock,), self.fill)

    def fill(self, directory: Path) -> None:
        self.builds += 1
        (directory / "bin").mkdir()
        (directory / "bin" / "program").write_text(self.lock.read_text("utf-8"), "utf-8")
        if self.failure is not None:
            raise self.failure

    def lock_says(self, text: str) -> None:
        self.lock.write_text(text, "utf-8")

    def content(self, link: str = "current") -> str:
        return (self.parent / link / "bin" / "program").read_text("utf-8")

    def names(self) -> set[str]:
        return {path.name for path in self.parent.iterdir()}

    def fetched(self) -> Path:
        """A package in the cache."""
        package = self.cache / "uv" / "package"
        package.parent.mkdir(exist_ok=True)
        package.touch()
        return package


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    return Workshop(tmp_path, monkeypatch)


def test_built_once_and_the_second_time_nothing_changes(shop: Workshop) -> None:
    assert not shop.tree.is_current()
    assert ensure(shop.tree) is True
    assert shop.tree.is_current() and shop.content() == "one==1\n"
    assert shop.names() == {"current", shop.tree.wanted_id()}
    before = {path: path.lstat().st_mtime_ns for path in shop.parent.rglob("*")}
    assert ensure(shop.tree) is False
    assert shop.builds == 1
    assert {path: path.lstat().st_mtime_ns for path in shop.parent.rglob("*")} == before


def test_the_id_says_what_is_inside(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shop.tree.wanted_id()
    assert first.startswith(f"py{builds.system_python_version()}-")
    shop.lock_says("two==2\n")
    second = shop.tree.wanted_id()
    monkeypatch.setattr(builds, "system_python_version", lambda: "3.99")
    third = shop.tree.wanted_id()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert len({first, second, third, shop.tree.wanted_id()}) == 4


def test_a_missing_lock_file_says_what_to_do(shop: Workshop) -> None:
    shop.lock.unlink()
    with pytest.raises(FamilyError, match=r"lock\.txt cannot be read") as caught:
        ensure(shop.tree)
    assert "install the package" in caught.value.hint


@pytest.mark.parametrize(
    "failure", [FamilyError("no network", status=ExitStatus.NETWORK), OSError(errno.EIO, "Input/output error")]
)
def test_a_failure_leaves_the_old_one_in_use(shop: Workshop, failure: Exception) -> None:
    ensure(shop.tree)
    old = shop.names()
    package = shop.fetched()
    shop.lock_says("two==2\n")
    shop.failure = failure
    with pytest.raises(FamilyError):
        ensure(shop.tree)
    assert shop.content() == "one==1\n" and shop.names() == old
    assert package.exists(), "what was fetched need not be fetched again"
    shop.failure = None
    assert ensure(shop.tree) is True
    assert shop.content() == "two==2\n" and shop.content("previous") == "one==1\n"


def test_a_first_build_that_fails_leaves_nothing(shop: Workshop) -> None:
    shop.failure = FamilyError("no network")
    with pytest.raises(FamilyError, match="no network"):
        ensure(shop.tree)
    assert shop.names() == set()
    assert not shop.tree.is_current()


def test_an_interrupted_build_is_thrown_away_with_the_cache(shop: Workshop) -> None:
    ensure(shop.tree)
    shop.lock_says("two==2\n")
    shop.failure = KeyboardInterrupt()  # as near to a power cut as a test can come
    with pytest.raises(KeyboardInterrupt):
        ensure(shop.tree)
    assert any(name.startswith(".building-") for name in shop.names())
    assert shop.content() == "one==1\n"
    package = shop.fetched()
    shop.failure = None
    assert ensure(shop.tree) is True
    assert not package.exists(), "a power cut leaves it full of empty files"
    assert shop.content() == "two==2\n"
    assert not any(name.startswith(".building-") for name in shop.names())


def test_a_cut_between_building_and_switching_is_finished_without_building(shop: Workshop) -> None:
    ensure(shop.tree)
    (shop.parent / "current").unlink()
    assert ensure(shop.tree) is True
    assert shop.builds == 1 and shop.content() == "one==1\n"


def test_a_build_without_its_marker_is_never_used(shop: Workshop) -> None:
    ensure(shop.tree)
    (shop.parent / "current" / COMPLETE_MARKER).unlink()
    (shop.parent / "current" / "bin" / "program").write_text("", "utf-8")
    assert not shop.tree.is_current()
    assert ensure(shop.tree) is True
    assert shop.builds == 2 and shop.content() == "one==1\n"


def test_the_marker_is_written_after_everything_has_reached_the_disk(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "sync", lambda: seen.append(sorted(p.name for p in shop.parent.glob(".building-*/**/*"))))
    ensure(shop.tree)
    assert seen == [["bin", "program"]]


def test_the_previous_one_is_kept_and_older_ones_go(shop: Workshop) -> None:
    ids = []
    for text in ("one", "two", "three", "four"):
        shop.lock_says(text)
        ensure(shop.tree)
        ids.append(shop.tree.wanted_id())
        assert shop.content() == text
    assert shop.names() == {"current", "previous", ids[2], ids[3]}
    assert shop.content("previous") == "three"


def test_going_back_needs_no_building(shop: Workshop) -> None:
    ensure(shop.tree)
    shop.lock_says("two")
    ensure(shop.tree)
    shop.lock_says("one==1\n")
    assert ensure(shop.tree) is True
    assert shop.builds == 2
    assert (shop.content(), shop.content("previous")) == ("one==1\n", "two")


@pytest.mark.parametrize("mask", [0o077, 0o002, 0o027])
def test_members_can_read_a_tree_whatever_the_umask_is(shop: Workshop, mask: int) -> None:
    old_mask = os.umask(mask)
    try:
        ensure(shop.tree)
        assert os.umask(mask) == mask, "the umask is the caller's own again"
    finally:
        os.umask(old_mask)
    for path in [shop.parent, *shop.parent.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o755 if path.is_dir() else 0o644
        assert mode == wanted, f"{path.name} has mode {mode:o}"


def test_two_builds_at_once_are_one_after_the_other(shop: Workshop) -> None:
    def fill(directory: Path) -> None:
        assert take_lock(shop.state / "build.lock", wait=False) is None
        (directory / "bin").mkdir()

    assert ensure(Tree("release", shop.parent, (shop.lock,), fill)) is True


def test_a_full_disk_is_told_as_such(shop: Workshop) -> None:
    shop.failure = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FamilyError, match="disk is full") as caught:
        ensure(shop.tree)
    assert caught.value.status == ExitStatus.DISK_FULL


def test_a_folder_that_cannot_be_written_is_told(shop: Workshop) -> None:
    shutil.rmtree(shop.state)
    with pytest.raises(FamilyError, match="could not be written"):
        ensure(shop.tree)


# -- fetching --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "status", "hint"),
    [
        ("error: failed to write: No space left on device (os error 28)", ExitStatus.DISK_FULL, "space"),
        ("npm ERR! nospc ENOSPC: no space", ExitStatus.DISK_FULL, "space"),
        ("error: Hash mismatch for six==1.16", ExitStatus.FAILURE, "later"),
        ("npm ERR! code EINTEGRITY", ExitStatus.FAILURE, "later"),
        ("error: failed to resolve host: dns error", ExitStatus.NETWORK, "internet"),
        ("did not end within 3600 seconds", ExitStatus.NETWORK, "internet"),
    ],
)
def test_why_something_could_not_be_fetched(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, output: str, status: ExitStatus, hint: str
) -> None:
    def run(*_args: object) -> CompletedProcess:
        raise ProgramError(f"uv ended with status 2: {output}")

    monkeypatch.setattr(offline, "run_with_sources", run)
    with pytest.raises(FamilyError, match="JupyterLab") as caught:
        builds.fetch(["uv"], [], "JupyterLab")
    assert caught.value.status == status and hint in caught.value.hint


def test_clients_keep_what_they_fetch_in_the_cache_only(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def run(
        _before: object, _after: object, _sources: object, environment: dict[str, str], _timeout: float
    ) -> CompletedProcess:
        seen.update(environment)
        assert Path(environment["TMPDIR"]).is_dir()
        return CompletedProcess(0, "", "")

    monkeypatch.setattr(offline, "run_with_sources", run)
    for _ in range(2):
        builds.fetch(["uv"], [], "JupyterLab")
    for name in ("UV_CACHE_DIR", "HOME", "TMPDIR"):
        assert seen[name].startswith(str(shop.cache))
    builds.discard_cache()
    assert list(shop.cache.iterdir()) == []


def test_of_many_tries_of_a_client_the_last_one_is_told() -> None:
    """Else the hint, which comes last, stood behind the bound of a line in the log."""
    tries = [f"WARNING: Retrying (Retry(total={left})): name resolution" for left in range(4, -1, -1)]
    failed = builds.fetch_failed(
        ProgramError("python ended with status 1: " + "\n".join([*tries, "ERROR: No matching distribution"])), "uv"
    )
    assert failed.message == (
        "uv could not be fetched: python ended with status 1: WARNING: Retrying (Retry(total=0)): name resolution\n"
        "ERROR: No matching distribution"
    )
