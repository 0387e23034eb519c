"""Runs as the caller: whether the limits of members' servers are enforced, and if not, which and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jupyterhub4family.cli.base import servers as base_servers
from jupyterhub4family.cli.doctor.base.finding import Check, CheckContext, Finding, fine, warning
from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import N_, _, ngettext
from jupyterhub4family.common.settings.types import MemberLimit
from jupyterhub4family.common.system import cgroups

BUSCTL = Path("/usr/bin/busctl")
BUS = Path("/run/dbus/system_bus_socket")


def check_limits(context: CheckContext) -> Iterator[Finding]:
    """Each server is in a scope of its own, and the kernel counts what the settings limit."""
    if not paths.SYSTEMD_RUNS.is_dir():
        yield warning(
            _("Servers have no memory and CPU limits here, because systemd is not running"),
            _("keep an eye on them, and stop those that nobody uses: jupyterhub4family status"),
        )
        return
    findings = [*_means(), *_servers(context.settings.member_limits)]
    yield from findings
    if not findings:
        yield fine(_("Each server has its limits, and everything it has started ends with it"))


def _means() -> Iterator[Finding]:
    if not os.access(BUSCTL, os.X_OK) or not BUS.exists():
        yield warning(
            _("Servers have no limits, because systemd cannot be reached: D-Bus is not running"),
            _("sudo apt-get install dbus"),
        )
    if not cgroups.counts_memory():
        yield warning(
            _("The kernel does not limit memory here, so one notebook can use up all of it"),
            _(
                "on a Raspberry Pi add cgroup_enable=memory to /boot/firmware/cmdline.txt; in a container enable "
                "it on the host"
            ),
        )
    if not cgroups.counts_processes():
        yield warning(
            _("The kernel does not limit the number of processes here"),
            _("in a container enable the pids controller on the host"),
        )


def _servers(member_limits: Sequence[MemberLimit]) -> Iterator[Finding]:
    servers = base_servers.running_servers()
    free = [one for one in servers if not one.confined]
    if free:
        yield warning(
            ngettext("{count} server runs without limits", "{count} servers run without limits", len(free)),
            _(
                "stop and start it once in the browser; if that does not help, its log says why: {command}",
                command=f"sudo jupyterhub4family logs {free[0].member}",
            ),
        )
    for one in servers:
        if one.killed:
            # The list is set as a whole: what is in it for others stays.
            subject = f"{one.member}.memory"
            others = [limit.text for limit in member_limits if limit.subject != subject]
            wanted = " ".join([*others, f"{subject}=75%"])
            yield warning(
                _("A program in the server of {name} needed too much memory and was stopped", name=one.member),
                _(
                    "if {name} needs more: {command}",
                    name=one.member,
                    command=f"sudo jupyterhub4family config set member_limits {wanted}",
                ),
            )


#: By the names that the JSON has, which are never changed.
CHECKS = {
    "limits": Check(N_("limits of servers"), check_limits),
}
