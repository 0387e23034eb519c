"""Runs as root, called by `doctor --fix`: puts right what can be put right without asking anybody.

Every step can be done twice; the second time changes nothing. What was changed by hand is kept beside it.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, service_programs, serving
from jupyterhub4family.common.protocol.actions import Action, Nothing
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.base import sudo_caller, supervisor
from jupyterhub4family.root.setup import setup

#: Shells with which the service's programs cannot be run.
NO_SHELLS = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


def repair(steps: Iterable[str]) -> None:
    """Do these steps, in the order that makes sense. Raises FamilyError at the first one that does not work."""
    wanted = set(steps)
    unknown = sorted(wanted - STEPS.keys())
    if unknown:
        raise UsageError(
            _("there is no step {name}", name=repr(unknown[0])), _("take one of: {names}", names=", ".join(STEPS))
        )
    for name, step in STEPS.items():
        if name in wanted:
            step()


def repair_accounts() -> None:
    """Groups and service account as at installation: no password, no foreign groups, a shell."""
    setup.ensure_groups()
    setup.ensure_account()
    account = pwd.getpwnam(accounts.SERVICE_ACCOUNT)
    foreign = accounts.group_names(account) & (
        accounts.ADMINISTRATOR_GROUPS | {accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP}
    )
    if foreign:
        programs.run(["/usr/sbin/usermod", "--gid", "nogroup", "--groups", "", accounts.SERVICE_ACCOUNT])
    programs.run(["/usr/sbin/usermod", "--password", "*", accounts.SERVICE_ACCOUNT])
    if account.pw_shell in NO_SHELLS:
        programs.run(["/usr/sbin/usermod", "--shell", "/bin/bash", accounts.SERVICE_ACCOUNT])


def repair_files() -> None:
    """Everything below our folders is root's, and nobody else may write there."""
    for top in (paths.LIBRARY, paths.SHARE):
        # From the top down: once a folder is mended, nobody can exchange what lies in it.
        _repair_file(top.name, os.open(top.parent, os.O_RDONLY | os.O_DIRECTORY))
        for _place, directories, file_names, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in (*directories, *file_names):
                _repair_file(name, descriptor)
    for entry in paths.LIBRARY.iterdir():
        if entry.is_file() and not entry.is_symlink():
            os.chmod(entry, 0o755)  # noqa: S103 (programs for everybody)


def _repair_file(name: str, directory: int) -> None:
    """Make `name` in the folder of this descriptor root's; take others' right to write away."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_uid != 0 or status.st_gid != 0:
        os.chown(name, 0, 0, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022:
        os.chmod(name, stat.S_IMODE(status.st_mode) & ~0o022, dir_fd=directory)


def repair_programs() -> None:
    """Every program as packaged. Raises RefusedError if others than root could have changed the packaged ones."""
    for directory, place in paths.ORIGINAL_PROGRAMS.items():
        for original in sorted(directory.glob("*")):
            status = os.lstat(original)
            if status.st_uid != 0 or status.st_mode & 0o022 or not stat.S_ISREG(status.st_mode):
                raise RefusedError(
                    _("accounts other than root can change {file}", file=str(original)),
                    _("sudo apt-get install --reinstall jupyterhub4family"),
                )
            files.write_atomically(place / original.name, original.read_text("utf-8"), 0o755, owner=(0, 0))


def repair_rights() -> None:
    """The rules for sudo as packaged; the PAM file, if it is missing, too. Raises ProgramError if sudo refuses them."""
    programs.run(["/usr/sbin/visudo", "-c", "-q", "-f", paths.ORIGINALS / "sudoers"])
    original = (paths.ORIGINALS / "sudoers").read_text("utf-8")
    _restore(paths.SUDOERS, original, 0o440)
    setup.check_sudoers()
    if not paths.PAM_FILE.exists():
        _restore(paths.PAM_FILE, (paths.ORIGINALS / "pam").read_text("utf-8"), 0o644)
    os.chown(paths.PAM_FILE, 0, 0, follow_symlinks=False)
    os.chmod(paths.PAM_FILE, 0o644)


def _restore(path: Path, text: str, mode: int) -> None:
    """Write `text`; what was there and differs is kept under a name that neither sudo nor PAM reads."""
    if path.is_file() and path.read_bytes() != text.encode("utf-8"):
        path.replace(path.with_name(f"{path.name}.dpkg-old"))
    files.write_atomically(path, text, mode)
    os.chown(path, 0, 0)


def repair_supervision() -> None:
    """Units or crontab, as the settings want."""
    setup.ensure_supervision(enable=True)


def fetch_release() -> None:
    """Have the service fetch its own programs again; hub and proxy then run from those."""
    _fetch(service_programs.BUILD_RELEASE)
    supervisor.restart(with_proxy=True)


def fetch_template() -> None:
    """Have the service make the members' template again."""
    _fetch(service_programs.BUILD_TEMPLATE)


def _fetch(action: Action[Nothing, service_programs.Built]) -> None:
    become = programs.as_account(accounts.SERVICE_ACCOUNT)
    calling.call(action.with_args("--anew"), Nothing(), become=become, on_progress=serving.report)


#: Names of all steps, in the order in which they are done.
STEPS = {
    "accounts": repair_accounts,
    "folders": setup.ensure_directories,
    "files": repair_files,
    "programs": repair_programs,
    "rights": repair_rights,
    "supervision": repair_supervision,
    "release": fetch_release,
    "template": fetch_template,
    "start": supervisor.start,
}


def main() -> int:
    """Program `repair STEP...`: lines of JSON on stdout, the answer last."""
    os.umask(0o022)
    return serving.answer(_repair)


def _repair() -> Nothing:
    sudo_caller.require_root()
    repair(sys.argv[1:])
    return Nothing()
