"""root.backup_target: what backups can go to, and the key that people write down."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError, UsageError
from jupyterhub4family.root.backup import target as backup_target
from jupyterhub4family.root.backup.target import check_key, new_key, parse_target
from jupyterhub4family.root.base import safe_paths


@pytest.mark.parametrize(
    "target",
    [
        "sftp:anna@nas:/backup",
        "sftp:nas:backup",
        "sftp://anna@nas.local:2222//backup",
        "sftp:[fd00::1]:/backup",
        "rest:https://nas.local/family/",
        "rest:https://nas.local:8000/",
        "rest:https://anna@nas.local/x",
    ],
)
def test_targets(target: str) -> None:
    parsed = parse_target(target)
    assert parsed.url == parsed.shown == target and parsed.local_directory is None


def test_a_folder_is_tidied_and_a_password_is_not_shown() -> None:
    assert parse_target("/media//usb/./backup/").local_directory == Path("/media/usb/backup")
    parsed = parse_target("rest:https://anna:s3cret@nas/x")
    assert "s3cret" in parsed.url and parsed.shown == "rest:https://anna:****@nas/x"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "backup",
        "~/backup",
        "s3:bucket",
        "rest:http://nas/x",
        "sftp:-oProxyCommand=id:/x",
        "sftp:-x@nas:/x",
        "sftp:anna@-oX:/x",
        "sftp://-oX/x",
        "sftp:nas",
        "sftp:nas:/x\ny",
        "/srv/\x00",
        "/" + "x" * 600,
        "rclone:anything",
    ],
)
def test_what_is_no_target(target: str) -> None:
    with pytest.raises(UsageError):
        parse_target(target)


def test_a_key_survives_handwriting() -> None:
    key = new_key()
    assert check_key(key) == key and len(key) == 29 and new_key() != key
    assert check_key(f"  {key.lower().replace('-', ' ')}\n") == key
    assert check_key("0OI1B" * 5) == "OOIIB-OOIIB-OOIIB-OOIIB-OOIIB"
    assert check_key("88888" * 5) == "BBBBB-BBBBB-BBBBB-BBBBB-BBBBB"
    for wrong in ("", "AAAAA", key + "A", key[:-1] + "9", key[:-1] + "ä"):
        with pytest.raises(RefusedError) as caught:
            check_key(wrong)
        assert "five groups" in caught.value.hint


def test_target_and_key_are_kept_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "etc" / "backup"
    monkeypatch.setattr(paths, "BACKUP_SETTINGS", directory)
    monkeypatch.setattr(paths, "BACKUP_TARGET", directory / "target")
    monkeypatch.setattr(paths, "BACKUP_KEY", directory / "key")
    assert backup_target.configured_target() is None
    for _twice in range(2):
        backup_target.write_target(parse_target("/srv/backup"), "K")
    assert backup_target.configured_target() == parse_target("/srv/backup")
    assert [path.stat().st_mode & 0o777 for path in (directory, directory / "key", directory / "target")] == [
        0o700,
        0o600,
        0o600,
    ]
    # All settings are below it, and everybody's commands read them.
    assert directory.parent.stat().st_mode & 0o777 == 0o755
    backup_target.remove_target()
    assert backup_target.configured_target() is None


def test_a_folder_that_is_not_there_is_made_at_setup_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_paths, "safe_directory", lambda directory: directory)
    target = parse_target(str(tmp_path / "usb"))
    with pytest.raises(FamilyError, match="not there"):
        backup_target.ready_directory(target)
    backup_target.make_directory(target)
    backup_target.ready_directory(target)
    assert (tmp_path / "usb").stat().st_mode & 0o777 == 0o700
    assert backup_target.on_the_same_disk(target, (tmp_path, tmp_path / "nothing"))
    with pytest.raises(FamilyError):
        backup_target.make_directory(parse_target(str(tmp_path / "not" / "there")))
