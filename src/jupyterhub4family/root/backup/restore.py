"""Runs as root, inside `backup`: brings things back from a backup.

First everything is read from the backup into fresh folders that only root can enter, and checked; if that fails,
nothing has happened. Then it is handed over, by whoever owns the place it goes to: homes by their members (through
user/import_restored.py), the hub's state by the account `jupyterhub`. So root writes nothing where others
could have put a link. A restore that was interrupted while handing over is completed by calling it again.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Union

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.protocol import calling, doors, service_programs
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.protocol.service_programs import RestoredHome
from jupyterhub4family.common.system import accounts, disk_space, files, programs
from jupyterhub4family.root.backup import accounts as backup_accounts
from jupyterhub4family.root.backup import restic
from jupyterhub4family.root.backup import tree as backup_tree
from jupyterhub4family.root.backup.accounts import AccountRecord
from jupyterhub4family.root.backup.restic import Repository, Snapshot
from jupyterhub4family.root.base import safe_paths, supervisor
from jupyterhub4family.root.doors import members
from jupyterhub4family.root.setup import setup

#: Beginning of the names of the fresh folders; they lie beside the homes, so that handing over is renaming.
STAGING_PREFIX = ".jupyterhub4family-restore-"


@dataclass(frozen=True)
class Contents:
    """What a backup says about itself."""

    snapshot: Snapshot
    account_records: list[AccountRecord]
    packages: dict[str, dict[str, str]]

    def record(self, name: str) -> AccountRecord:
        """The member called so. Raises FamilyError if there is no such home in the backup."""
        for record in self.account_records:
            if record.name == name and record.member:
                return record
        raise FamilyError(
            _("{name} is not in the backup of {time}", name=restic.printable(name), time=shown(self.snapshot.time)),
            "sudo jupyterhub4family backup list",
        )


def shown(seconds: int) -> str:
    """A time for people, of this computer's time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def read_manifest(repository: Repository, untrusted_id: str) -> Contents:
    """Find a backup and read what it says about itself. Raises FamilyError."""
    snapshot = repository.find(untrusted_id)
    try:
        about = json.loads(repository.read(snapshot, backup_tree.TREE / "about.json"))
        if int(about["format"]) > backup_tree.FORMAT:
            raise RefusedError(
                _(
                    "this backup was made by a newer version ({version})",
                    version=restic.printable(about.get("version")),
                ),
                _("upgrade jupyterhub4family first"),
            )
        account_records = backup_accounts.from_json(
            json.loads(repository.read(snapshot, backup_tree.TREE / "accounts.json"))
        )
        found = json.loads(repository.read(snapshot, backup_tree.TREE / "packages.json"))
        packages = {str(name): backup_tree.checked_packages(of_one) for name, of_one in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FamilyError(
            _("the backup of {time} is damaged", time=shown(snapshot.time)), "sudo jupyterhub4family backup verify"
        ) from error
    return Contents(snapshot, account_records, packages)


# -- fresh folders -----------------------------------------------------------------------------------


@contextmanager
def staging_directory(parent: Path) -> Iterator[Path]:
    """A new folder of root's alone in `parent`, which nobody else can change; gone at the end, whatever is in it."""
    real = safe_paths.safe_directory(parent)
    remove_leftovers(real)
    staging = real / f"{STAGING_PREFIX}{os.getpid()}"
    staging.mkdir(mode=0o700)
    # What has been read and not been handed over is behind a door of its own.
    _reading(staging).mkdir(mode=0o700)
    try:
        yield staging
    finally:
        _remove(staging)


def _reading(staging: Path) -> Path:
    """Where in a fresh folder restic writes; nobody but root ever enters."""
    return staging / "reading"


def remove_leftovers(parent: Path) -> None:
    """Take away what an interrupted restore has left in `parent`. The caller holds the lock of all backups."""
    for staging in parent.glob(f"{STAGING_PREFIX}*"):
        _remove(staging)


def _remove(staging: Path) -> None:
    """Remove a tree that members may have been given. rmtree goes by descriptors and follows no link."""
    # Closed first, so that nobody enters any more.
    os.chmod(staging, 0o700)
    # Not rmtree: a member's directories may be deeper than Python goes, and than root may have files open.
    programs.run(["/bin/rm", "-rf", "--one-file-system", "--", staging], check=False, timeout=None)


def chown_tree(top: Path, uid: int, gid: int) -> None:
    """Make everything in `top`, a tree in a folder of root's alone, this account's; what is no file goes.

    Giving a file away takes its setuid bit and its capabilities off (chown(2)).
    """
    waiting = [top]
    while waiting:
        # By their paths, and none of them open for longer than a look: nobody else can get in there, and directories
        # may be in each other a thousand times.
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path, kind = Path(entry.path), stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
                    os.unlink(path)
                    continue
                os.chown(path, uid, gid, follow_symlinks=False)
                if kind == stat.S_IFDIR:
                    waiting.append(path)
    os.chown(top, uid, gid, follow_symlinks=False)


# -- what is asked for -------------------------------------------------------------------------------


def below_home(record: AccountRecord, untrusted_path: str) -> Path:
    """A path that people name, relative to the home. Raises UsageError if it is elsewhere."""
    path = Path(os.path.normpath(untrusted_path))
    if path.is_absolute():
        for home in (Path(record.home), backup_accounts.home_of(record)):
            if home in path.parents:
                return path.relative_to(home)
    elif path.parts and path.parts[0] != ".." and path != Path():
        return path
    raise UsageError(
        _("{path} is not in the home of {name}", path=restic.printable(untrusted_path), name=record.name),
        _("name it as seen from the home, such as school/homework.ipynb"),
    )


def owner_of(contents: Contents, untrusted_paths: list[str]) -> str:
    """The member in whose home all these paths are. Raises UsageError if that is nobody."""
    for record in contents.account_records:
        homes = {Path(record.home), backup_accounts.home_of(record)}
        if record.member and all(homes & set(Path(os.path.normpath(path)).parents) for path in untrusted_paths):
            return record.name
    raise UsageError(
        _("nobody's home has {path}", path=restic.printable(untrusted_paths[0])), _("say whose it is: --member NAME")
    )


# -- a member, or some of their files ----------------------------------------------------------------


def restore_member(
    repository: Repository,
    contents: Contents,
    record: AccountRecord,
    chosen: list[Path],
    *,
    to: Optional[Path],
    on_progress: ProgressCallback,
) -> Union[RestoredHome, Path]:
    """Bring back a home, or `chosen` paths in it, into the home, or as the new directory `to`, which is returned."""
    account = None if to else accounts.find_account(record.name)
    parent = to.parent if to else backup_accounts.home_of(record).parent
    with staging_directory(parent) as staging:
        on_progress(10, _("Reading the home of {name} from the backup", name=record.name))
        home = _read_home(repository, contents.snapshot, record, chosen, staging)
        if to is not None:
            _rename_to(home, to)
            return to
        assert account is not None
        on_progress(70, _("Restoring the files of {name}", name=record.name))
        packages = {} if chosen else contents.packages.get(record.name, {})
        return transfer(record.name, home, staging, packages)


def _read_home(
    repository: Repository, snapshot: Snapshot, record: AccountRecord, chosen: list[Path], staging: Path
) -> Path:
    """Read a home, or paths in it, into `staging`; returns where it is now. Raises FamilyError if one is missing."""
    home = backup_tree.TREE / "homes" / record.name
    repository.restore(snapshot, [home / path for path in chosen] or [home], _reading(staging))
    here = _reading(staging) / home.relative_to("/")
    for path in [here / path for path in chosen] or [here]:
        if not os.path.lexists(path):
            raise _not_there(path.relative_to(here), snapshot)
    return here


def require(repository: Repository, contents: Contents, record: AccountRecord, path: Path) -> None:
    """Raise FamilyError unless the backup has this path of a home."""
    if not repository.holds(contents.snapshot, backup_tree.TREE / "homes" / record.name / path):
        raise _not_there(path, contents.snapshot)


def _not_there(path: Path, snapshot: Snapshot) -> FamilyError:
    return FamilyError(
        _("{path} is not in the backup of {time}", path=str(path), time=shown(snapshot.time)),
        _("look into an older one (--from ID); see: sudo jupyterhub4family backup list"),
    )


def check_to(to: Path) -> Path:
    """The folder that a restore may make. Raises FamilyError if something is there, or others could mislead root."""
    if not to.is_absolute():
        raise UsageError(_("{directory} is not an absolute path", directory=str(to)), _("start it with /"))
    if os.path.lexists(to):
        raise RefusedError(
            _("{directory} is there already", directory=str(to)), _("name a folder that does not exist yet")
        )
    return safe_paths.safe_directory(to.parent) / to.name


def _require_directory(path: Path) -> None:
    """Raise FamilyError for what is not a directory itself: whoever had the key could have put a link in its place."""
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise FamilyError(
            _("{directory} in the backup is not a folder", directory=path.name), "sudo jupyterhub4family backup list"
        )


def _rename_to(tree: Path, to: Path) -> None:
    _require_directory(tree)
    # Its new place may be one that everybody can look into.
    os.chown(tree, 0, 0, follow_symlinks=False)
    os.chmod(tree, 0o700)
    os.rename(tree, to)


def transfer(name: str, home: Path, staging: Path, packages: dict[str, str]) -> RestoredHome:
    """Have the member move `home`, somewhere in the fresh folder `staging`, into their home, with their own rights."""
    account = accounts.find_account(name)
    if not accounts.is_ordinary_uid(account.pw_uid):
        raise RefusedError(
            _("{name} is a system account (uid {uid}) and cannot be a member", name=name, uid=account.pw_uid)
        )
    top = staging / f"for-{account.pw_uid}"
    _require_directory(home)
    # Until everything is theirs nobody can enter: the numbers in the backup may be somebody else's here.
    os.chmod(staging, 0o700)
    os.rename(home, top)
    os.chmod(top, 0o700)
    chown_tree(top, account.pw_uid, account.pw_gid)
    # Others may pass through, on the way to what is theirs, and see nothing of it.
    os.chmod(staging, 0o711)  # noqa: S103
    request = service_programs.Restored(str(top), time.strftime("before-restore-%Y%m%d-%H%M%S"), packages)
    done = calling.call(service_programs.IMPORT_RESTORED, request, become=programs.as_account(name))
    aside = str(Path(account.pw_dir) / request.aside) if done.kept else ""
    return RestoredHome(name, done.taken, done.kept, aside)


# -- everything --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Everything:
    """What came back: accounts that were made, what came into whose home, and what did not work."""

    made: list[str]
    homes: list[RestoredHome]
    notes: list[Message]


def lay_out_everything(repository: Repository, contents: Contents, to: Path, on_progress: ProgressCallback) -> None:
    """Lay all that is in the backup into the new directory `to`. Raises FamilyError."""
    with staging_directory(to.parent) as staging:
        on_progress(10, _("Reading the backup"))
        repository.restore(contents.snapshot, [backup_tree.TREE], _reading(staging))
        _rename_to(_reading(staging) / backup_tree.TREE.relative_to("/"), to)


def restore_everything(
    repository: Repository, contents: Contents, on_progress: ProgressCallback, begin: Callable[[], None]
) -> Everything:
    """Make this machine what the backup's was.

    `begin` is called once all has been read and before anything is changed. Raises FamilyError.
    """
    with ExitStack() as stack:
        _check_space(repository, contents)
        on_progress(10, _("Reading settings and the hub's state from the backup"))
        base = stack.enter_context(staging_directory(paths.BACKUP))
        wanted = [backup_tree.TREE / "settings", backup_tree.TREE / "hub.json"]
        repository.restore(contents.snapshot, wanted, _reading(base))
        homes = _read_homes(repository, contents, stack, on_progress)
        begin()
        return _change(contents, _reading(base) / backup_tree.TREE.relative_to("/"), homes, on_progress)


def _check_space(repository: Repository, contents: Contents) -> None:
    """Raise FamilyError if the disk has clearly no room, before anything is written."""
    _files, needed = repository.size(contents.snapshot)
    free = disk_space.free_bytes(backup_accounts.HOMES)
    if free < needed:
        raise FamilyError(
            _(
                "the disk with {directory} is full: {detail}",
                directory=str(backup_accounts.HOMES),
                detail=_("{needed} MB are needed, {free} MB are free", needed=needed // 2**20, free=free // 2**20),
            ),
            _("free some space there, or use a bigger disk"),
            ExitStatus.DISK_FULL,
        )


#: Name of a member: the home as read from the backup, and the fresh folder it is in.
Homes = dict[str, tuple[Path, Path]]


def _read_homes(repository: Repository, contents: Contents, stack: ExitStack, on_progress: ProgressCallback) -> Homes:
    """Read all homes, each group of them beside where they go."""
    found: Homes = {}
    of_parent: dict[Path, list[AccountRecord]] = {}
    for record in contents.account_records:
        if record.member:
            # By its real name: of two fresh folders in one place the second would take the first for a leftover.
            parent = Path(os.path.realpath(backup_accounts.home_of(record).parent))
            of_parent.setdefault(parent, []).append(record)
    for parent, group in of_parent.items():
        staging = stack.enter_context(staging_directory(parent))
        on_progress(15, _("Reading the homes of {names} from the backup", names=", ".join(one.name for one in group)))
        repository.restore(
            contents.snapshot, [backup_tree.TREE / "homes" / one.name for one in group], _reading(staging)
        )
        for record in group:
            home = _reading(staging) / (backup_tree.TREE / "homes" / record.name).relative_to("/")
            # A home that could not be saved then is not there now.
            if home.is_dir():
                found[record.name] = (home, staging)
    return found


def _change(contents: Contents, base: Path, homes: Homes, on_progress: ProgressCallback) -> Everything:
    """Put everything in its place. Every step can be done twice."""
    on_progress(60, _("Stopping hub, proxy and servers"))
    supervisor.stop()
    try:
        setup.end_all_servers()
        on_progress(65, _("Restoring settings and the hub's state"))
        # First what is looked at before it is taken.
        if os.path.lexists(base / "hub.json"):
            _import_hub_state(base / "hub.json")
        _exchange_settings(base / "settings")
        done = _restore_accounts(contents, homes, on_progress)
    finally:
        on_progress(97, _("Starting hub and proxy"))
        setup.ensure_supervision(enable=False)
        supervisor.start()
    return done


def _import_hub_state(file: Path) -> None:
    """Have the service take its state. Raises FamilyError."""
    try:
        text = (files.read_untrusted(file, service_programs.STATE.line) or b"").decode("utf-8")
        state = service_programs.HubState(dict(json.loads(text)["files"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FamilyError(_("the hub's state in the backup is damaged")) from error
    become = programs.as_account(accounts.SERVICE_ACCOUNT)
    calling.call(service_programs.IMPORT_STATE, state, become=become)


def _restore_accounts(contents: Contents, homes: Homes, on_progress: ProgressCallback) -> Everything:
    """Accounts, groups and homes."""
    done = Everything([], [], [])
    for number, record in enumerate(contents.account_records):
        on_progress(70 + 25 * number // len(contents.account_records), _("Restoring {name}", name=record.name))
        try:
            if backup_accounts.ensure_account(record):
                done.made.append(record.name)
            backup_accounts.ensure_delegate(record)
            if record.name in homes:
                done.homes.append(transfer(record.name, *homes[record.name], contents.packages.get(record.name, {})))
            if record.member:
                # As root at the command line: with all its questions about who must not be a member.
                members.add_members(True, doors.AddMembers([record.name]))
        except FamilyError as error:
            # One who cannot come back must not keep the others out.
            done.notes.append(_("{name}: {reason}", name=record.name, reason=error.message))
    return done


def _exchange_settings(restored: Path) -> None:
    """Make the settings those of the backup, file by file; the old ones are kept. Where backups go stays as it is."""
    if not restored.is_dir():
        return
    chown_tree(restored, 0, 0)
    paths.CONFIGURATION.mkdir(mode=0o755, exist_ok=True)
    old, new = _files(paths.CONFIGURATION), _files(restored)
    kept = paths.CONFIGURATION.with_name(time.strftime(f"{paths.CONFIGURATION.name}.before-restore-%Y%m%d-%H%M%S"))
    kept.mkdir(mode=0o700, exist_ok=True)
    for name in sorted(old):
        _copy(paths.CONFIGURATION / name, kept / name)
    for name in sorted(new):
        _copy(restored / name, paths.CONFIGURATION / name)
    for name in old - new:
        (paths.CONFIGURATION / name).unlink()
    key = paths.OWN_TLS / "portal.key"
    if key.is_file():
        os.chown(key, accounts.find_account(accounts.SERVICE_ACCOUNT).pw_uid, 0, follow_symlinks=False)


def _files(top: Path) -> set[Path]:
    """All plain files of settings in `top`, relative to it, without what belongs to the backup itself."""
    found = {path.relative_to(top) for path in top.rglob("*") if path.is_file() and not path.is_symlink()}
    return {path for path in found if path.parts[0] != paths.BACKUP_SETTINGS.name}


def _copy(source: Path, target: Path) -> None:
    """Copy a file with mode and time, with one rename at the end."""
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    # It may be a key: closed from the beginning.
    os.close(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    shutil.copy2(source, staging)
    staging.replace(target)
