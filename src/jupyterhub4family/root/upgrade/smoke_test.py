"""Runs as root, called by `doctor --deep`: a throw-away member goes through the portal, and leaves nothing behind.

Root makes the account, with a random password that goes through pipes only; a program that runs as the service
account does what a browser would. Whatever happens, the account is removed; one that an interrupted earlier try
has left is removed first.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Optional

from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import calling, doors, service_programs, serving
from jupyterhub4family.common.protocol.service_programs import RoundTrip
from jupyterhub4family.common.system import accounts, files, programs
from jupyterhub4family.root.base import run_dir, servers, sudo_caller
from jupyterhub4family.root.doors import environment, members

NAME = "jh4f-probe"
#: Says that the account is ours to remove.
COMMENT = "jupyterhub4family trial member"
HOME = Path("/home") / NAME


def main() -> int:
    """Program `probe`: lines of JSON on stdout, the answer last."""
    os.umask(0o022)
    return serving.answer(_alone)


def _alone() -> RoundTrip:
    sudo_caller.require_root()
    run_dir.ensure_run_dir()
    lock = files.take_lock(run_dir.RUN_DIR / "probe.lock", wait=False)
    if lock is None:
        raise RefusedError(_("another trial login is under way"), _("try again in a minute"))
    return run_smoke_test()


def run_smoke_test() -> RoundTrip:
    """The whole round. Raises FamilyError."""
    remove_trial_member()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupted)
    begun = time.monotonic()
    with _member() as password:
        calling.call(
            service_programs.USE_PORTAL,
            service_programs.TrialLogin(NAME, password),
            become=programs.as_account(accounts.SERVICE_ACCOUNT),
            on_progress=serving.report,
        )
    return RoundTrip(round(time.monotonic() - begun))


@contextlib.contextmanager
def _member() -> Iterator[str]:
    """A new member and its password, until the end of the block."""
    password = secrets.token_urlsafe(24)
    try:
        serving.report(2, _("Making a trial member"))
        home = ["--create-home", "--home-dir", str(HOME), "--shell", "/bin/bash"]
        programs.run(["/usr/sbin/useradd", *home, "--comment", COMMENT, NAME])
        programs.run(["/usr/sbin/chpasswd"], text_input=f"{NAME}:{password}\n")
        members.add_members(True, doors.AddMembers([NAME]))
        yield password
    finally:
        serving.report(92, _("Removing the trial member"))
        remove_trial_member()


def remove_trial_member() -> None:
    """Remove the account with everything it has, if it is there and ours. Raises RefusedError if it is not ours."""
    try:
        account = pwd.getpwnam(NAME)
    except KeyError:
        return
    if account.pw_gecos != COMMENT or Path(account.pw_dir) != HOME:
        raise RefusedError(
            _("there is an account {name} that jupyterhub4family did not make", name=NAME),
            _("rename it: usermod -l OTHER {name}", name=NAME),
        )
    # What could not be told to the hub it finds out at its next start; the account goes in any case.
    with contextlib.suppress(FamilyError):
        members.remove_members(True, doors.RemoveMembers([NAME]))
    servers.end_servers(account.pw_uid)
    environment.forget(account)
    programs.run(["/usr/sbin/userdel", "--force", "--remove", NAME], check=False, timeout=120)
    with contextlib.suppress(KeyError):
        pwd.getpwnam(NAME)
        raise FamilyError(
            _("the trial member {name} could not be removed", name=NAME), _("sudo userdel --remove {name}", name=NAME)
        )


def _interrupted(_number: int, _frame: Optional[FrameType]) -> None:
    raise FamilyError(_("interrupted"))
