"""Throw-away Debian machines: systemd-nspawn over overlayfs.

Runs as root on the developer's machine, with all the rights that has.

    with Machine("trixie") as machine:      # less than a second
        machine.run("useradd -m alice")
        print(machine.run("id", user="alice"))

Options worth knowing:

* `disk_mb` gives the machine a disk of that size, an ext4 image: disks can be full, and
  `power_cut(lose_unsynced=True)` loses what was not synced;
* `memory_cgroup=True` makes limits of memory and of processes inside the machine effective on every host;
* `init="sysvinit"` boots without systemd, cron started by /etc/init.d;
* `in_memory=True` makes a disk without a size in memory, where there is enough of that: what machines in tests have.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.machine.lib import cgroups, leases, network, roots
from tests.machine.lib.disks import Disk
from tests.machine.lib.inside import Inside
from tests.machine.lib.places import directory_for_disks, host, move_tree, read_tail, remove_tree

# nspawn's exit status when the machine asked for a reboot (it leaves that to us, see `cgroups`).
REBOOT_STATUS = 133


class Machine(Inside):
    """One machine. A context manager: started on entry, destroyed without a trace on exit."""

    def __init__(
        self,
        suite: str,
        layers: Sequence[Path] = (),
        init: str = "systemd",
        *,
        disk_mb: int | None = None,
        memory_cgroup: bool = False,
        in_memory: bool = False,
    ) -> None:
        super().__init__()
        self.suite, self.init, self.layers = suite, init, tuple(layers)
        self.memory_v1 = memory_cgroup and cgroups.needs_memory_v1()
        self.pid: int | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None
        root = roots.root(suite, init)
        self._lease = leases.take()
        self.name, self.ip = self._lease.name, network.address(self._lease.number)
        path = directory_for_disks(in_memory and disk_mb is None and not memory_cgroup)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=path))
        self._lease.record(self.directory)
        self._disk = Disk(self.directory, (root, *self.layers), disk_mb)
        self._netns: Path | None = None
        self.destroyed = False

    # -- life -------------------------------------------------------------------------------

    def start(self, timeout: float = 90) -> Machine:
        """Boot, and return when the machine is up."""
        self._disk.create()
        if self._netns is None:
            self._netns = network.add_namespace(self.name, self._lease.number)
        network.configure(self.name, self._lease.number)
        (self.directory / "resolv.conf").write_text(network.resolv_conf())
        self._nspawn = self._spawn()
        end = time.monotonic() + timeout
        self._until(self._find_init, end)
        self._until(self._is_up, end)
        if self.memory_v1 and self.pid is not None:
            cgroups.own_limits(self.pid)
            if self.init == "systemd":
                self.run("systemctl daemon-reexec")
        return self

    def stop(self) -> None:
        """Shut down cleanly, as the power button does."""
        status = self._shut_down("poweroff" if self.init == "systemd" else "shutdown -h now")
        if status:
            raise RuntimeError(f"{self.name}: shutdown ended with {status}\n{self.console()}")

    def reboot(self) -> None:
        """Restart cleanly and wait until the machine is up again."""
        status = self._shut_down("reboot" if self.init == "systemd" else "shutdown -r now")
        if status != REBOOT_STATUS:
            raise RuntimeError(f"{self.name}: reboot ended with {status}\n{self.console()}")
        self.start()

    def power_cut(self, lose_unsynced: bool = False) -> None:
        """End every process at once; with `lose_unsynced` (needs `disk_mb`) unwritten data too."""
        if lose_unsynced and self._nspawn is not None:
            self._disk.cut_off(self._nspawn.pid)
        leases.kill_machine(self.name)
        if self._nspawn is not None:
            self._nspawn.wait(timeout=30)
        self._is_off()

    def destroy(self) -> None:
        """Remove the machine and everything it left on the host. May be called twice."""
        if self.destroyed:
            return
        self.destroyed = True
        try:
            if self._nspawn is not None:
                self.power_cut()
            remove_tree(self.directory)
            cgroups.remove(self.name)
            network.internet(self._lease.number, on=True)
            network.drop_namespace(self.name)
        finally:
            self._lease.release()

    def freeze_layer(self, dest: Path) -> Path:
        """Shut down and keep what was changed in the machine as a layer for other machines."""
        if self._disk.megabytes:
            raise ValueError("a layer cannot be taken from a disk image")
        if self.pid is not None:
            self.stop()
        remove_tree(dest)
        dest.parent.mkdir(parents=True, exist_ok=True)
        move_tree(self._disk.upper, dest)
        return dest

    def __enter__(self) -> Machine:
        """Start the machine; when that fails, leave nothing behind."""
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Destroy the machine."""
        self.destroy()

    # -- network ----------------------------------------------------------------------------

    def unplug(self) -> None:
        """Pull the network cable out; it stays out over a reboot."""
        network.cable(self.name, plugged=False)

    def plug(self) -> None:
        """Plug the network cable in."""
        network.cable(self.name, plugged=True)

    def internet(self, on: bool) -> None:
        """Cut or restore the way to the internet; the home network works on."""
        network.internet(self._lease.number, on)

    # -- looking at it ----------------------------------------------------------------------

    @contextmanager
    def looking_in(self) -> Iterator[Callable[[str], str]]:
        """Give a way to ask shell questions, of a running machine or of the disk of one that is off."""
        if self.pid is not None:
            yield lambda cmd: self.execute(cmd, timeout=60).stdout
            return
        self._disk.create()
        yield (
            lambda cmd: host(*self._disk.mounted(["chroot", str(self._disk.root), "sh", "-c", cmd]), check=False).stdout
        )
        self._disk.wait_released()

    def console(self, lines: int = 60) -> str:
        """Return the end of what the machine printed on its console."""
        return read_tail(self.directory / "console.log", lines)

    # -- underneath -------------------------------------------------------------------------

    def _spawn(self) -> subprocess.Popen[bytes]:
        groups = cgroups.create(self.name, self.memory_v1)
        unified = "0" if self.memory_v1 else "1"
        resolver = f"cat {self.directory}/resolv.conf > {self._disk.root}/etc/resolv.conf"
        command = [
            *("sh", "-c", f'{resolver}; exec "$@"', "sh"),
            # nspawn itself in the machine's network, rather than --network-namespace-path: so
            # the machine's /sys, too, shows its own interfaces and not the host's.
            *("nsenter", f"--net={self._netns}"),
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
            f"--directory={self._disk.root}",
            f"--machine={self.name}",
            f"--hostname={roots.HOSTNAME}",
            "--capability=CAP_NET_ADMIN",
            "--console=read-only",
            "--resolv-conf=off",
            "--timezone=off",
            # --boot would take systemd wherever that package is installed, be it the init or not.
            *(["/sbin/init"] if self.init == "sysvinit" else ["--boot"]),
        ]
        with (self.directory / "console.log").open("ab") as console:
            return subprocess.Popen(
                self._disk.mounted(command),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={
                    **os.environ,
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": unified,
                    # /tmp is where the machine's own Debian puts it: on the disk before 13.
                    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
                },
                preexec_fn=lambda: cgroups.enter(groups),  # noqa: PLW1509 - no threads in a test run
            )

    def _until(self, ready: Callable[[], bool], end: float) -> None:
        while not ready():
            if self._nspawn is None or self._nspawn.poll() is not None:
                raise RuntimeError(f"{self.name} ended while booting\n{self.console()}")
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} did not boot\n{self.console()}")
            time.sleep(0.02)

    def _find_init(self) -> bool:
        """Find the machine's PID 1: nspawn's child, once it has become the init program."""
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            for child in children.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() in ("systemd", "init"):
                    self.pid = int(child)
                    return True
        except OSError:
            pass
        return False

    def _is_up(self) -> bool:
        if self.init == "sysvinit":
            # cron runs, and the boot scripts have come to their end.
            up = "pgrep -x cron && ! pgrep -f '^/bin/sh /etc/init.d/rc'"
            return self.execute(up).returncode == 0
        state = self.execute("systemctl is-system-running").stdout.strip()
        return state in ("running", "degraded")

    def _shut_down(self, command: str) -> int:
        if self._nspawn is None:
            raise RuntimeError(f"machine {self.name} is not running")
        self.execute(command)
        status = self._nspawn.wait(timeout=120)
        self._is_off()
        return status

    def _is_off(self) -> None:
        self.pid = self._nspawn = None
        self._disk.wait_released()
