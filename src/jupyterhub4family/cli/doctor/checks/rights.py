"""Runs as the caller: the rules for sudo, the PAM file, and that nobody but root can change a door."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.cli.doctor.base.finding import (
    Check,
    CheckContext,
    Finding,
    Repair,
    fine,
    problem,
    unknown,
    warning,
)
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.system import accounts, programs

#: Where Debian's libpam looks for modules.
PAM_MODULES = ("lib/*/security", "usr/lib/*/security", "lib/security", "usr/lib/security")
#: dpkg's sums of what it has installed (MD5: against accidents, not against attackers).
SUMS = Path("/var/lib/dpkg/info/jupyterhub4family.md5sums")
_RULE = re.compile(r"\s+\([^)]+\)\s+(?P<commands>.+)")
_TAG = re.compile(r"^(?:[A-Z_]+:\s*)+")


def check_sudoers(context: CheckContext) -> Iterator[Finding]:
    """The rules are root's, as packaged, accepted by sudo, and really in force."""
    fix = _("sudo jupyterhub4family doctor --fix")
    try:
        status = os.lstat(paths.SUDOERS)
    except FileNotFoundError:
        yield problem(
            _("The rules for sudo ({file}) are missing, so nobody can log in", file=paths.SUDOERS), fix, "rights"
        )
        return
    except PermissionError:
        yield unknown(_("Only root can check the rules for sudo"))
        return
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != 0 or mode != 0o440:
        yield problem(
            _(
                "The rules for sudo ({file}) must belong to root and have the mode 0440, not {mode}",
                file=paths.SUDOERS,
                mode=f"{mode:04o}",
            ),
            fix,
            "rights",
        )
    if not context.by_root:
        yield unknown(_("Only root can read the rules for sudo"))
        return
    yield from _sudoers_content(fix)


def _sudoers_content(fix: str) -> Iterator[Finding]:
    checked = programs.run(["/usr/sbin/visudo", "-c", "-q", "-f", paths.SUDOERS], check=False)
    if checked.returncode != 0:
        yield problem(_("sudo does not accept the rules in {file}", file=paths.SUDOERS), fix, "rights")
        return
    if paths.SUDOERS.read_bytes() != (paths.ORIGINALS / "sudoers").read_bytes():
        yield problem(_("The rules for sudo ({file}) are not the packaged ones", file=paths.SUDOERS), fix, "rights")
        return
    listed = programs.run(["/usr/bin/sudo", "-n", "-l", "-U", accounts.SERVICE_ACCOUNT], check=False).stdout
    allowed = allowed_commands(listed)
    hubs = [str(door.path) for door in doors.DOORS if door.opened_by == accounts.SERVICE_ACCOUNT]
    if not all(any(command.startswith(door) for command in allowed) for door in hubs):
        yield problem(
            _("sudo does not read {file}", file=paths.SUDOERS),
            _("look into /etc/sudoers (sudo visudo): it must contain the line @includedir /etc/sudoers.d"),
        )
    elif foreign := [command for command in allowed if not command.startswith(f"{paths.LIBRARY}/")]:
        yield problem(
            _(
                "sudo lets {name} run more than the doors: {commands}",
                name=accounts.SERVICE_ACCOUNT,
                commands=", ".join(foreign),
            ),
            _("take that rule out of /etc/sudoers or /etc/sudoers.d (sudo visudo)"),
        )
    else:
        yield fine(_("sudo opens the doors to the hub, and nothing else"))


def allowed_commands(listing: str) -> list[str]:
    """The commands in `listing`, the output of `sudo -l`."""
    rules = filter(None, map(_RULE.fullmatch, listing.splitlines()))
    return [_TAG.sub("", command.strip()) for rule in rules for command in rule["commands"].split(", ")]


def check_pam(_context: CheckContext) -> Iterator[Finding]:
    """The file by which passwords are checked is there, root's, and names modules that exist."""
    fix = _("sudo jupyterhub4family doctor --fix")
    try:
        status = os.lstat(paths.PAM_FILE)
    except FileNotFoundError:
        yield problem(_("{file} is missing, so no password can be checked", file=paths.PAM_FILE), fix, "rights")
        return
    if status.st_uid != 0 or status.st_mode & 0o022 or not stat.S_ISREG(status.st_mode):
        yield problem(_("Accounts other than root can change {file}", file=paths.PAM_FILE), fix, "rights")
        return
    text = paths.PAM_FILE.read_text("utf-8", "replace")
    missing = [name for name in sorted(set(re.findall(r"\bpam_\w+\.so\b", text))) if not _has_module(name)]
    if missing:
        yield problem(
            _("The PAM modules {names} are missing, so no password can be checked", names=", ".join(missing)),
            _("sudo apt-get install --reinstall libpam-modules"),
        )
    elif text != (paths.ORIGINALS / "pam").read_text("utf-8"):
        yield warning(
            _("{file} was changed by hand", file=paths.PAM_FILE),
            _(
                "if that was not intended: sudo cp {original} {file}",
                original=paths.ORIGINALS / "pam",
                file=paths.PAM_FILE,
            ),
        )
    else:
        yield fine(_("Passwords are checked with the packaged rules"))


def _has_module(name: str) -> bool:
    return any(True for pattern in PAM_MODULES for _found in Path("/").glob(f"{pattern}/{name}"))


def check_doors(_context: CheckContext) -> Iterator[Finding]:
    """Nobody but root can change a door, what it imports, or a folder on the way there."""
    fix = _("sudo jupyterhub4family doctor --fix")
    loose = []
    for path in _all_paths():
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISLNK(status.st_mode) and (status.st_uid != 0 or status.st_mode & 0o022):
            loose.append(path)
    for path in loose[:5]:
        yield problem(_("Accounts other than root can change {path}", path=path), fix, "files")
    for door in (door.path for door in doors.DOORS):
        if not os.access(door, os.X_OK):
            loose.append(door)
            yield problem(
                _("The door {path} is missing or cannot be started", path=door),
                _("sudo apt-get install --reinstall jupyterhub4family"),
                "files" if door.exists() else "",
            )
    if not loose:
        yield fine(_("Only root can change the doors"))


def _all_paths() -> Iterator[Path]:
    for top in (paths.LIBRARY, paths.SHARE):
        yield from reversed(top.parents)
        yield top
        for place, directories, files in os.walk(top):
            yield from (Path(place, name) for name in (*directories, *files))


def check_directories(_context: CheckContext) -> Iterator[Finding]:
    """The service's folders are where they belong, and what is secret nobody else can read."""
    account = membership.service_account()
    wrong = []
    for directory, (mode, by_root) in paths.SERVICE_DIRECTORIES.items():
        try:
            status = os.lstat(directory)
        except FileNotFoundError:
            wrong.append(directory)
            continue
        owner = 0 if by_root else (account.pw_uid if account else -1)
        if stat.S_IMODE(status.st_mode) != mode or status.st_uid != owner or not stat.S_ISDIR(status.st_mode):
            wrong.append(directory)
    for directory in wrong:
        yield problem(
            _("The folder {directory} is missing, or its owner or mode is wrong", directory=directory),
            _("sudo jupyterhub4family doctor --fix"),
            "folders",
        )
    if not wrong:
        yield fine(_("The service's folders belong to it, and nobody else can read its secrets"))


def check_package(_context: CheckContext) -> Iterator[Finding]:
    """What dpkg has installed is still what it was."""
    try:
        lines = SUMS.read_text("utf-8").splitlines()
    except FileNotFoundError:
        yield unknown(_("jupyterhub4family was installed without the .deb, so there are no checksums to compare with"))
        return
    changed = [
        name for digest, _space, name in (line.partition("  ") for line in lines) if not _is(Path("/", name), digest)
    ]
    if changed:
        yield problem(
            _(
                "Files of the package are changed or missing: {names}",
                names=", ".join(f"/{name}" for name in changed[:5]),
            ),
            _("install the package again: sudo ./install --deb FILE"),
        )
    else:
        yield fine(_("The package's files are as they were installed"))


def _is(path: Path, digest: str) -> bool:
    try:
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == digest
    except OSError:
        return False


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "sudoers": Check(N_("the rules for sudo"), check_sudoers),
    "pam": Check(N_("how passwords are checked"), check_pam),
    "doors": Check(N_("the doors"), check_doors),
    "package": Check(N_("the files of the package"), check_package),
    "folders": Check(N_("the folders of the service"), check_directories),
}
REPAIRS = (
    Repair("folders", 20, N_("The service's folders have the right owners and modes again")),
    Repair("files", 30, N_("The programs belong to root again, and nobody else can write to them")),
    Repair("rights", 40, N_("The rules for sudo and PAM are the packaged ones; changed ones are kept as *.dpkg-old")),
)
