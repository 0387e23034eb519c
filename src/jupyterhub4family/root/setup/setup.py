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

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import supervision, upgrade
from jupyterhub4family.common.system import accounts, cgroups, programs
from jupyterhub4family.root.base import avahi, held_ports, run_dir, servers, sudo_caller, supervisor
from jupyterhub4family.root.doors import administrators, members
from jupyterhub4family.root.upgrade import apt_sources, transaction

UPDATE_RC = Path("/usr/sbin/update-rc.d")
#: Holds the ports from boot on, where systemd is not PID 1.
INIT_SCRIPT = "jupyterhub4family-hold-ports"
#: Debian's hook by which a machine says that nothing may be started now (invoke-rc.d(8)).
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_FORBIDDEN = 101
#: Where systemd keeps what was set at run time (systemd.unit(5)).
SYSTEMD_CONTROL = Path("/run/systemd/system.control")


def main() -> int:
    """Program `setup configure|remove|release-ports`."""
    parser = argparse.ArgumentParser(prog="setup", description="Set up or take down the root part.")
    commands = parser.add_subparsers(dest="command", required=True)
    configure_parser = commands.add_parser("configure", help="accounts, folders, rights; start the service")
    configure_parser.add_argument("--enable", action="store_true", help="also enable the units (without the .deb)")
    remove_parser = commands.add_parser("remove", help="stop everything; state, accounts and homes stay")
    remove_parser.add_argument("--disable", action="store_true", help="also disable the units (without the .deb)")
    commands.add_parser("release-ports", help="before a version that opens its ports by itself")
    args = parser.parse_args()
    os.umask(0o022)
    sudo_caller.require_root()
    if args.command == "configure":
        configure(enable=args.enable)
    elif args.command == "release-ports":
        release_ports()
    else:
        remove(disable=args.disable)
    return 0


def configure(enable: bool = False) -> None:
    """Make the machine ready and start the service, unless policy-rc.d forbids starting."""
    ensure_groups()
    ensure_account()
    ensure_directories()
    check_sudoers()
    ensure_allowed_administrators()
    ensure_supervision(enable)
    avahi.ensure_service_file(effective.settings_in_use()[0])
    ensure_apt_files()
    if not may_start():
        print(_("policy-rc.d forbids starting services now; start with: {command}", command="jupyterhub4family start"))
        return
    start_or_upgrade()


def ensure_apt_files() -> None:
    """Make apt's files what the settings say, as far as that can be done."""
    with contextlib.suppress(FamilyError):
        # What is in its way `doctor` says; it is no reason not to run.
        apt_sources.ensure_sources(effective.settings_in_use()[0])


def start_or_upgrade() -> None:
    """Start what does not run; where something runs already, the new version takes over by a trial."""
    if rollback_in_progress():
        # Who goes back restarts the hub as soon as release and database are back as well.
        return
    if not transaction.can_begin():
        supervisor.start_after_install()
        return
    transaction.begin()
    supervisor.start()
    supervisor.start_upgrade()
    print(_("The new version takes over once it has been tested; see: {command}", command="jupyterhub4family status"))


def rollback_in_progress() -> bool:
    """Whether this is the package before, installed again because a newer one did not work."""
    now = upgrade.upgrade_in_progress()
    return now is not None and now.backwards


def ensure_groups() -> None:
    """Make the groups of members and delegates, if they are missing."""
    for name in (accounts.MEMBER_GROUP, accounts.DELEGATE_GROUP):
        try:
            grp.getgrnam(name)
        except KeyError:
            programs.run(["/usr/sbin/groupadd", "--system", name])


def ensure_account() -> None:
    """Make the service account, without a password. Raises FamilyError if somebody else has the name."""
    try:
        account = pwd.getpwnam(accounts.SERVICE_ACCOUNT)
    except KeyError:
        home = ["--home-dir", str(paths.SERVICE_HOME), "--no-create-home", "--shell", "/bin/bash"]
        # Not the members' group: the rules for members' doors must not hold for the service.
        about = ["--gid", "nogroup", "--password", "*", "--comment", "JupyterHub for the family"]
        programs.run(["/usr/sbin/useradd", "--system", *home, *about, accounts.SERVICE_ACCOUNT])
        return
    if account.pw_uid == 0 or Path(account.pw_dir) != paths.SERVICE_HOME:
        raise FamilyError(
            _(
                "there is already an account {name} (home {directory}) that is not this package's",
                name=accounts.SERVICE_ACCOUNT,
                directory=account.pw_dir,
            ),
            _(
                "rename it: {command}; then: {afterwards}",
                command=f"usermod -l OTHER {accounts.SERVICE_ACCOUNT}",
                afterwards="dpkg --configure -a",
            ),
        )
    if account.pw_gid == grp.getgrnam(accounts.MEMBER_GROUP).gr_gid:
        programs.run(["/usr/sbin/usermod", "--gid", "nogroup", accounts.SERVICE_ACCOUNT])


def ensure_directories() -> None:
    """Make the account's home, root's, and in it the folders that the account may fill.

    The home is root's so that who takes over the account can leave nothing there that a later login or root
    would read (.profile, .ssh), and so that root may make folders in it without being led astray by links.
    """
    account = pwd.getpwnam(accounts.SERVICE_ACCOUNT)
    for directory, (mode, by_root) in paths.SERVICE_DIRECTORIES.items():
        _ensure_directory(directory, mode, *((0, 0) if by_root else (account.pw_uid, account.pw_gid)))
    # A short name for the certificate that people copy to their devices.
    link = paths.SERVICE_HOME / paths.AUTHORITY_CERTIFICATE.name
    if not link.is_symlink():
        link.symlink_to(f"{paths.PUBLIC.name}/{paths.AUTHORITY_CERTIFICATE.name}")


def _ensure_directory(directory: Path, mode: int, uid: int, gid: int) -> None:
    """Make `directory`, whose parent is root's, with this mode and owner; repair both if it exists."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=mode)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def check_sudoers() -> None:
    """Raise ProgramError if sudo would not accept our rules together with the machine's."""
    programs.run(["/usr/sbin/visudo", "-c", "-q", "-f", paths.SUDOERS])


def ensure_allowed_administrators() -> None:
    """Note once whom root has let in although they can become root, before versions that noted it."""
    paths.CONFIGURATION.mkdir(mode=0o755, exist_ok=True)
    administrators.allow_earlier_members(members.current_members())


def ensure_supervision(enable: bool) -> None:
    """Give the account its crontab exactly where that is the supervisor; make systemd read the units."""
    if supervision.chosen_supervisor() == supervision.CRON:
        supervisor.install_crontab((paths.SHARE / "crontab").read_text("utf-8"))
    else:
        supervisor.remove_crontab()
    if enable and not supervision.SYSTEMD_RUNS.is_dir() and UPDATE_RC.exists():
        programs.run([UPDATE_RC, INIT_SCRIPT, "defaults"])
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "daemon-reload"])
        if enable:
            programs.run(["systemctl", "enable", "--quiet", *supervision.ENABLED])
        by_cron = supervision.chosen_supervisor() == supervision.CRON
        is_enabled = ["systemctl", "is-enabled", "--quiet", supervision.HOLDER_UNIT]
        # Enabling and disabling make links for other inits as well, and take a third of a second.
        if (programs.run(is_enabled, check=False).returncode == 0) is not by_cron:
            programs.run(["systemctl", "enable" if by_cron else "disable", "--quiet", supervision.HOLDER_UNIT])
        if paths.BACKUP_TARGET.exists():
            programs.run(["systemctl", "enable", "--quiet", "--now", supervision.BACKUP_TIMER])


def may_start() -> bool:
    """Whether policy-rc.d lets services be started."""
    if not os.access(POLICY, os.X_OK):
        return True
    return programs.run([POLICY, "jupyterhub4family", "start"], check=False).returncode != POLICY_FORBIDDEN


def remove(disable: bool = False) -> None:
    """Stop hub, proxy and all members' servers, and take the crontab away. State and accounts stay."""
    if disable and supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "disable", "--quiet", *supervision.ENABLED, supervision.HOLDER_UNIT])
    if disable and UPDATE_RC.exists():
        # Where systemd runs, enabling and disabling the unit of the same name has made links as well.
        programs.run([UPDATE_RC, "-f", INIT_SCRIPT, "remove"])
    if supervision.SYSTEMD_RUNS.is_dir():
        # Enabled by `backup setup`, and by an installation that finds a backup set up.
        programs.run(["systemctl", "disable", "--quiet", "--now", supervision.BACKUP_TIMER], check=False)
    transaction.end()
    supervisor.stop()
    release_ports()
    supervisor.remove_crontab()
    avahi.remove_service_file()
    end_all_servers()
    remove_limits()
    shutil.rmtree(run_dir.RUN_DIR, ignore_errors=True)


def release_ports() -> None:
    """Have nobody hold the ports any more; hub and proxy that run keep what they have."""
    supervisor.end_holder()
    held_ports.release()


def remove_limits() -> None:
    """Take away the slices of servers, and the limits that systemd has noted for them until the next reboot."""
    if supervision.SYSTEMD_RUNS.is_dir():
        programs.run(["systemctl", "stop", cgroups.SLICE], check=False, timeout=60)
        for directory in SYSTEMD_CONTROL.glob("jupyterhub4family*.slice.d"):
            shutil.rmtree(directory, ignore_errors=True)


def end_all_servers() -> None:
    """End every server of every account in the member group."""
    try:
        group = grp.getgrnam(accounts.MEMBER_GROUP)
    except KeyError:
        return
    for account in pwd.getpwall():
        # It may also be somebody's primary group.
        if account.pw_name in group.gr_mem or account.pw_gid == group.gr_gid:
            servers.end_servers(account.pw_uid)


if __name__ == "__main__":
    sys.exit(main())
