"""service.tokens: secrets are long, nobody else's to read, the same for everybody who asks, and never printed."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import traceback
from pathlib import Path

import pytest

from jupyterhub4family.common.system import files
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.hub_state.tokens import Secret, ensure_token
from tests.unit.helpers import PYTHON, TIMEOUT, with_our_package

TEXT = "0123456789abcdef" * 4


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_token_is_made_once(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "token"
    old_mask = os.umask(mask)
    try:
        token = ensure_token(path).reveal()
    finally:
        os.umask(old_mask)
    assert len(token) == 64 and set(token) <= set("0123456789abcdef")
    assert path.read_text("ascii") == token + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(path).reveal() == token


def test_each_file_holds_another_secret(tmp_path: Path) -> None:
    assert len({ensure_token(tmp_path / name).reveal() for name in "abc"}) == 3


@pytest.mark.parametrize("left", ["", "\n", "short\n", TEXT[:63]])
def test_what_a_power_cut_left_is_renewed(tmp_path: Path, left: str) -> None:
    path = tmp_path / "token"
    path.write_text(left, "ascii")
    path.chmod(0o644)
    token = ensure_token(path).reveal()
    assert len(token) == 64 and token != left
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_mode_that_is_too_wide_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TEXT + "\n", "ascii")
    path.chmod(0o644)
    assert ensure_token(path).reveal() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_on_a_full_disk_a_token_is_renewed_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub starts, and what was seen of the one before is good for nothing all the same."""
    for name in ("PROXY_TOKEN", "ROUTES_TOKEN", "MEMBERSHIP_TOKEN"):
        monkeypatch.setattr(tokens, name, tmp_path / name.lower())
    tokens.renew_tokens()
    before = {path.name: (path.read_text("ascii"), path.stat().st_ino) for path in tmp_path.glob("*_token")}
    problem = OSError(errno.ENOSPC, "No space left on device")

    def full(*_args: object) -> None:
        raise problem

    monkeypatch.setattr(files, "write_atomically", full)
    tokens.renew_tokens()
    after = {path.name: (path.read_text("ascii"), path.stat().st_ino) for path in tmp_path.glob("*_token")}
    assert len(before) == 3 and before.keys() == after.keys()
    for name in before:
        assert len(after[name][0]) == 65 and after[name][0] != before[name][0] and after[name][1] == before[name][1]
    with pytest.raises(OSError, match="No space"):
        ensure_token(tmp_path / "another")
    problem = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input"):
        tokens.renew_tokens()


def test_who_asks_at_the_same_time_gets_the_same_secret(tmp_path: Path) -> None:
    """Hub and proxy both ask as soon as the first release is there; with two secrets the hub could not be reached."""
    code = """
    import pathlib, time
    from jupyterhub4family.service.hub_state import tokens
    make = tokens.secrets.token_hex
    def slowly(count):
        time.sleep(0.3)
        return make(count)
    tokens.secrets.token_hex = slowly
    print("ready", flush=True)
    sys.stdin.readline()
    print(tokens.ensure_token(pathlib.Path(sys.argv[1])).reveal())
    """
    args = [*PYTHON, "-c", with_our_package(code), str(tmp_path / "token")]
    askers = [subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for asker in askers:
        assert asker.stdout and asker.stdout.readline() == b"ready\n"
    for asker in askers:
        assert asker.stdin
        asker.stdin.write(b"go\n")
        asker.stdin.flush()
    answers = {asker.communicate(timeout=TIMEOUT)[0] for asker in askers}
    assert answers == {(tmp_path / "token").read_bytes()}


def test_a_secret_is_never_printed(capsys: pytest.CaptureFixture[str]) -> None:
    secret = Secret(TEXT)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret!r}", f"{secret!s}", f"{secret!a}"]
    shown += ["%s" % secret, "%r" % secret, "{}".format(secret), format(secret), str([secret]), str({"a": secret})]  # noqa: UP031, UP032
    print(secret)
    shown.append(capsys.readouterr().out)
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown += [str(error), traceback.format_exc()]
    assert all("****" in text and TEXT not in text for text in shown), shown


def test_a_secret_gets_into_no_json() -> None:
    with pytest.raises(TypeError):
        json.dumps({"token": Secret(TEXT)})
    assert TEXT not in json.dumps({"token": Secret(TEXT)}, default=str)
