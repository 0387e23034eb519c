"""Runs as root, from Debian's maintainer scripts or by hand: account, groups, folders, rights, supervision.

Every step can be done twice; the second time changes nothing. No network: what has to be fetched is fetched
by the service itself, as the account `jupyterhub`. What `purge` takes away is in debian/jupyterhub4family.postrm,
because by then this file is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import pwd
import shutil
import sys
from pathlib import Path

from jupyterhub4family.common.accounts import DELEGATE_GROUP, MEMBER_GROUP, SERVICE_ACCOUNT
from jupyterhub4family.common.confinement import SLICE
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.messages import _
from jupyterhub4family.common.paths import (
    AUTHORITY_CERTIFICATE,
    BACKUP_TARGET,
    PUBLIC,
    SERVICE_FOLDERS,
    SERVICE_HOME,
    SHARE,
    SUDOERS,
)
from jupyterhub4family.common.programs import run
from jupyterhub4family.common.settings_in_use import settings_in_use
from jupyterhub4family.common.supervision import (
    BACKUP_TIMER,
    CRON,
    SYSTEMD_RUNS,
    UNITS,
    UPGRADE_UNIT,
    chosen_supervisor,
)
from jupyterhub4family.common.upgrades import upgrade_under_way
from jupyterhub4family.root import supervisor, transaction
from jupyterhub4family.root.announcement import ensure_announcement, remove_announcement
from jupyterhub4family.root.auto_upgrade import ensure_sources
from jupyterhub4family.root.caller import require_root
from jupyterhub4family.root.runtime import RUNTIME
from jupyterhub4family.root.servers import end_servers

#: Debian's hook by which a machine says that nothing may be started now (invoke-rc.d(8)).
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_FORBIDDEN = 101
#: Where systemd keeps what was set at run time (systemd.unit(5)).
SYSTEMD_NOTES = Path("/run/systemd/system.control")


def main() -> int:
    """Program `setup configure|remove`."""
    parser = argparse.ArgumentParser(prog="setup", description="Set up or take down the root part.")
    commands = parser.add_subparsers(dest="command", required=True)
    configure_parser = commands.add_parser("configure", help="accounts, folders, rights; start the service")
    configure_parser.add_argument("--enable", action="store_true", help="also enable the units (without the .deb)")
    remove_parser = commands.add_parser("remove", help="stop everything; state, accounts and homes stay")
    remove_parser.add_argument("--disable", action="store_true", help="also disable the units (without the .deb)")
    words = parser.parse_args()
    os.umask(0o022)
    require_root()
    if words.command == "configure":
        configure(enable=words.enable)
    else:
        remove(disable=words.disable)
    return 0


def configure(enable: bool = False) -> None:
    """Make the machine ready and start the service, unless policy-rc.d forbids starting."""
    ensure_groups()
    ensure_account()
    ensure_folders()
    check_sudoers()
    ensure_supervision(enable)
    ensure_announcement(settings_in_use()[0])
    with contextlib.suppress(FamilyError):
        # What is in its way `doctor` says; it is no reason not to run.
        ensure_sources(settings_in_use()[0])
    if not may_start():
        print(_("policy-rc.d forbids starting services now; start with: {command}", command="jupyterhub4family start"))
        return
    take_over()


def take_over() -> None:
    """Start what does not run; where something runs already, the new version takes over by a trial."""
    if upgrade_under_way_backwards():
        # Who goes back restarts the hub as soon as release and database are back as well.
        return
    if not transaction.can_begin():
        supervisor.start_after_install()
        return
    transaction.begin()
    supervisor.start()
    supervisor.start_upgrade()
    print(
        _("The new version takes over when it has been tried out; see: {command}", command="jupyterhub4family status")
    )


def upgrade_under_way_backwards() -> bool:
    """Whether this is the package before, installed again because a newer one did not work."""
    now = upgrade_under_way()
    return now is not None and now.backwards


def ensure_groups() -> None:
    """Make the groups of members and delegates, if they are missing."""
    for name in (MEMBER_GROUP, DELEGATE_GROUP):
        try:
            grp.getgrnam(name)
        except KeyError:
            run(["/usr/sbin/groupadd", "--system", name])


def ensure_account() -> None:
    """Make the service account, without a password. Raises FamilyError if somebody else has the name."""
    try:
        account = pwd.getpwnam(SERVICE_ACCOUNT)
    except KeyError:
        home = ["--home-dir", str(SERVICE_HOME), "--no-create-home", "--shell", "/bin/bash"]
        # Not the members' group: the rules for members' doors must not hold for the service.
        about = ["--gid", "nogroup", "--password", "*", "--comment", "JupyterHub for the family"]
        run(["/usr/sbin/useradd", "--system", *home, *about, SERVICE_ACCOUNT])
        return
    if account.pw_uid == 0 or Path(account.pw_dir) != SERVICE_HOME:
        raise FamilyError(
            _(
                "there is already an account {name} (home {folder}) that is not this package's",
                name=SERVICE_ACCOUNT,
                folder=account.pw_dir,
            ),
            _(
                "rename it: {command}; then: {afterwards}",
                command=f"usermod -l OTHER {SERVICE_ACCOUNT}",
                afterwards="dpkg --configure -a",
            ),
        )
    if account.pw_gid == grp.getgrnam(MEMBER_GROUP).gr_gid:
        run(["/usr/sbin/usermod", "--gid", "nogroup", SERVICE_ACCOUNT])


def ensure_folders() -> None:
    """Make the account's home, root's, and in it the folders that the account may fill.

    The home is root's so that who takes over the account can leave nothing there that a later login or root
    would read (.profile, .ssh), and so that root may make folders in it without being led astray by links.
    """
    account = pwd.getpwnam(SERVICE_ACCOUNT)
    for folder, (mode, by_root) in SERVICE_FOLDERS.items():
        _ensure_folder(folder, mode, *((0, 0) if by_root else (account.pw_uid, account.pw_gid)))
    # A short name for the certificate that people copy to their devices.
    link = SERVICE_HOME / AUTHORITY_CERTIFICATE.name
    if not link.is_symlink():
        link.symlink_to(f"{PUBLIC.name}/{AUTHORITY_CERTIFICATE.name}")


def _ensure_folder(folder: Path, mode: int, uid: int, gid: int) -> None:
    """Make `folder`, whose parent is root's, with this mode and owner; mend both if it exists."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def check_sudoers() -> None:
    """Raise ProgramError if sudo would not accept our rules together with the machine's."""
    run(["/usr/sbin/visudo", "-c", "-q", "-f", SUDOERS])


def ensure_supervision(enable: bool) -> None:
    """Give the account its crontab exactly where that is the supervisor; make systemd read the units."""
    if chosen_supervisor() == CRON:
        supervisor.install_crontab((SHARE / "crontab").read_text("utf-8"))
    else:
        supervisor.remove_crontab()
    if SYSTEMD_RUNS.is_dir():
        run(["systemctl", "daemon-reload"])
        if enable:
            run(["systemctl", "enable", "--quiet", *UNITS, UPGRADE_UNIT])
        if BACKUP_TARGET.exists():
            run(["systemctl", "enable", "--quiet", "--now", BACKUP_TIMER])


def may_start() -> bool:
    """Whether policy-rc.d lets services be started."""
    if not os.access(POLICY, os.X_OK):
        return True
    return run([POLICY, "jupyterhub4family", "start"], check=False).status != POLICY_FORBIDDEN


def remove(disable: bool = False) -> None:
    """Stop hub, proxy and all members' servers, and take the crontab away. State and accounts stay."""
    if disable and SYSTEMD_RUNS.is_dir():
        run(["systemctl", "disable", "--quiet", *UNITS, UPGRADE_UNIT])
    if SYSTEMD_RUNS.is_dir():
        # Enabled by `backup setup`, and by an installation that finds a backup set up.
        run(["systemctl", "disable", "--quiet", "--now", BACKUP_TIMER], check=False)
    transaction.end()
    supervisor.stop()
    supervisor.remove_crontab()
    remove_announcement()
    end_all_servers()
    forget_limits()
    shutil.rmtree(RUNTIME, ignore_errors=True)


def forget_limits() -> None:
    """Take away the slices of servers, and the limits that systemd has noted for them until the next reboot."""
    if SYSTEMD_RUNS.is_dir():
        run(["systemctl", "stop", SLICE], check=False, timeout=60)
        for folder in SYSTEMD_NOTES.glob("jupyterhub4family*.slice.d"):
            shutil.rmtree(folder, ignore_errors=True)


def end_all_servers() -> None:
    """End every server of every account in the member group."""
    try:
        group = grp.getgrnam(MEMBER_GROUP)
    except KeyError:
        return
    for account in pwd.getpwall():
        # It may also be somebody's primary group.
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid:
            end_servers(account.pw_uid)


if __name__ == "__main__":
    sys.exit(main())
