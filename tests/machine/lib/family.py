"""What most tests of the product begin with: a machine whose portal answers, members, a browser that is logged in."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.machine.lib import health as machine_health
from tests.machine.lib import layers
from tests.machine.lib.client import Browser
from tests.machine.lib.machine import Machine

#: Everybody's password in the tests.
PASSWORD = "correct horse 7"
#: The family's authority on a machine, and how a program there asks the portal without ignoring anything.
CA = "/var/lib/jupyterhub4family/ca.crt"
CURL = f"curl -s --cacert {CA}"
STATE = "/var/lib/jupyterhub4family/state"
TEMPLATE = "/var/lib/jupyterhub4family/templates/current/env"
#: What may differ on a machine after install and purge: logs, caches, package lists, backups of passwd and the like.
NOT_COMPARED = (
    "/var/log /var/cache /var/lib/apt /var/lib/dpkg /var/lib/systemd /run /tmp /proc /sys /dev /root /var/tmp"
    " /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /var/spool/cron/crontabs /var/lib/private /home"
    " /var/lib/sudo /var/spool/postfix /var/lib/update-rc.d /etc/mtab /etc/resolv.conf /var/mail /var/lib/logrotate"
    # Debian's own timer copies what it knows of packages once a day, whenever that is.
    " /var/backups /etc/.pwd.lock /etc/subuid- /etc/subgid- /etc/hostname /etc/adjtime /etc/machine-id /etc/network/run"
).split()


def health(port: int = 8000) -> str:
    """A command that succeeds when hub and proxy answer at this port. Over plain HTTP the proxy alone would answer."""
    return f"{CURL} -f -o /dev/null --max-time 20 https://127.0.0.1:{port}/hub/health"


#: The same at the usual port.
HEALTHY = health()


def ready(machine: Machine, patience: float = 60) -> Machine:
    """Return the machine once its portal answers, members can be given environments, and no upgrade is under way."""
    layers.wait_until_ready(machine, patience)
    return machine


def add_member(machine: Machine, *names: str) -> None:
    """Make accounts with the tests' password and let them log in."""
    for name in names:
        machine.add_account(name, PASSWORD)
    machine.run(f"jupyterhub4family members add {' '.join(names)}")


@contextlib.contextmanager
def shared_machine(suite: str, *members: str) -> Iterator[Machine]:
    """A machine for several tests, which leave it as it was: ready, with these members; looked at when all are done."""
    with Machine(suite, layers.stack("installed", suite, "systemd"), in_memory=True) as machine:
        ready(machine)
        if members:
            add_member(machine, *members)
        yield machine
        machine_health.check(machine)


def browser(machine: Machine, cookies: httpx.Cookies | None = None, source: str | None = None) -> Browser:
    """A browser that trusts the machine's authority; nobody is logged in, except with another one's `cookies`.

    `source` is the address that it comes from (`network.stranger`).
    """
    return Browser(f"https://{machine.ip}:8000", verify=authority(machine) or True, cookies=cookies, source=source)


def authority(machine: Machine) -> Path | None:
    """The certificate of this machine's authority, copied to the host; None if it has none yet."""
    text = machine.execute(f"cat {CA}").stdout
    if not text:
        return None
    copy = machine.directory / "ca.crt"
    # In one step: many browsers may be started side by side.
    written = machine.directory / f"ca.crt-{threading.get_ident()}"
    written.write_text(text)
    return written.replace(copy)


def logged_in(machine: Machine, name: str) -> Browser:
    """A browser in which this member is logged in."""
    window = browser(machine)
    window.login(name, PASSWORD).expect()
    return window


def hub_pid(machine: Machine) -> int:
    """The pid of the running JupyterHub, as the machine counts."""
    return int(machine.run("pgrep -u jupyterhub -f 'bin/jupyterhub -f'").split()[0])


def proxy_pid(machine: Machine) -> int:
    """The pid of the running proxy, as the machine counts."""
    return int(machine.run("pgrep -u jupyterhub -f 'proxy/launch.js'").split()[0])


def digest_of_template(machine: Machine) -> str:
    """Changes with any file of the template: name, mode, owner or content."""
    return machine.run(rf"cd {TEMPLATE}/ && find . -type f -printf '%p %m %u ' -exec sha1sum {{}} + | sort | sha1sum")


@dataclass(frozen=True)
class Snapshot:
    """What install and purge must leave as it was."""

    files: frozenset[str]
    accounts: str
    groups: str
    crontabs: str
    processes: str

    def difference(self, later: Snapshot) -> str:
        """What differs, for people; empty if nothing does."""
        found = [f"gone: {path}" for path in sorted(self.files - later.files)]
        found += [f"new: {path}" for path in sorted(later.files - self.files)]
        for what in ("accounts", "groups", "crontabs", "processes"):
            before, after = getattr(self, what), getattr(later, what)
            if before != after:
                found.append(f"{what}:\n{before}\n->\n{after}")
        return "\n".join(found)


def snapshot(machine: Machine) -> Snapshot:
    """Look at everything on the machine that lasts: name, mode, owner and size of each file, accounts, crontabs."""
    pruned = " -o ".join(f"-path {path}" for path in NOT_COMPARED)
    # Size and time of a directory say nothing that its entries do not.
    listing = machine.run(
        rf"find / -xdev \( {pruned} -o -name __pycache__ \) -prune -o"
        r" \( -type d -printf '%p %m %u:%g\n' -o -printf '%p %m %u:%g %s %l\n' \)"
    )
    return Snapshot(
        files=frozenset(line for line in listing.splitlines() if not line.startswith("/etc/ld.so.cache")),
        accounts=machine.run("getent passwd; getent shadow | cut -d: -f1,2"),
        groups=machine.run("getent group; cat /etc/gshadow"),
        crontabs=machine.run("ls -A /var/spool/cron/crontabs; cat /var/spool/cron/crontabs/* 2>/dev/null; true"),
        processes=processes_of_ours(machine),
    )


def nothing_has_changed(machine: Machine, before: Snapshot) -> None:
    """Raise with all that differs: pytest cuts short what it compares itself."""
    differs = before.difference(snapshot(machine))
    assert not differs, differs


def processes_of_ours(machine: Machine) -> str:
    """Processes of the service or of any server, one a line."""
    # Where cron supervises it looks once a minute, whenever that is.
    machine.wait("! pgrep -u jupyterhub -f '[l]ib/jupyterhub4family/ensure'", timeout=30)
    listing = machine.run("ps axo user:32,args --no-headers")
    return "\n".join(line for line in listing.splitlines() if re.search(r"^jupyterhub |jupyterhub4family", line))


def variables_of_server(machine: Machine, pid: str | int) -> dict[str, str]:
    """Those of a member's server: its first ones, and what it shows of the later ones if it was prepared ahead."""
    shown = "case $(readlink $one) in /memfd:jupyterhub4family-environ*) cat $one;; esac"
    lines = machine.run(f"cat /proc/{pid}/environ; for one in /proc/{pid}/fd/*; do {shown}; done").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)
