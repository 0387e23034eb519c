"""common.confinement: in which scope a process is, and what the kernel tells of it, for both versions of groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.system import cgroups, processes
from jupyterhub4family.common.system.cgroups import FreeMemory, Usage

SCOPE = "jupyterhub4family-{uid}-4711-99.scope"
PLACE = "/jupyterhub4family.slice/jupyterhub4family-{uid}.slice/" + SCOPE
ME = 1001


class Kernel:
    """A /proc and a /sys/fs/cgroup of the test's own: nothing in them is judged by who owns a file."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.groups = directory / "proc", directory / "cgroup"
        self.proc.mkdir()
        self.groups.mkdir()
        (self.proc / "self").mkdir()
        monkeypatch.setattr(processes, "PROC", self.proc)
        monkeypatch.setattr(cgroups, "CONTROL_GROUPS", self.groups)

    def process(self, pid: int, *lines: str, uid: int = ME) -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "status").write_text(f"Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n", "ascii")
        (self.proc / str(pid) / "cgroup").write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def file(self, path: str, text: str) -> None:
        file = self.groups / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "ascii")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def place(uid: int = ME) -> str:
    return PLACE.format(uid=uid)


@pytest.mark.parametrize("prefix", ["", "/lxc/101", "/machine.slice/x.scope/payload"])
@pytest.mark.parametrize("line", ["0::{}", "4:memory:{}", "1:name=systemd:{}", "2:cpu,cpuacct:{}", "0::{}/below"])
def test_a_process_in_its_scope(kernel: Kernel, prefix: str, line: str) -> None:
    kernel.process(10, "8:pids:/", line.format(prefix + place()))
    assert cgroups.scope_of(10) == SCOPE.format(uid=ME) == cgroups.scope_name(ME, 4711, 99)
    assert cgroups.scopes() == {SCOPE.format(uid=ME): [10]}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/system.slice/jupyterhub4family-hub.service",
        "/jupyterhub4family.slice",
        f"/jupyterhub4family.slice/jupyterhub4family-{ME}.slice",
        place() + "x",
        place().replace(".scope", ".service"),
        place().replace(f"-{ME}.slice", f"-{ME + 1}.slice"),
        # Another's name: everybody can give names below their own session.
        place(ME + 1),
        f"/user.slice/user-{ME}.slice/user@{ME}.service{place(ME + 1)}",
    ],
)
def test_a_process_elsewhere(kernel: Kernel, path: str) -> None:
    kernel.process(10, f"0::{path}")
    assert cgroups.scope_of(10) == ""
    assert cgroups.usage(10) is None
    assert cgroups.scopes() == {}


def test_a_process_that_is_gone(kernel: Kernel) -> None:
    assert cgroups.scope_of(10) == "" and cgroups.control_groups(10) == {}
    assert cgroups.usage(10) is None
    (kernel.proc / "11").mkdir()
    assert cgroups.scope_of(11) == ""


def test_version_two(kernel: Kernel) -> None:
    kernel.process(10, f"0::{place()}")
    kernel.file("cgroup.controllers", "cpu memory pids\n")
    kernel.file(f"{place()}/memory.current", "300\n")
    kernel.file(f"{place()}/memory.stat", "anon 150\ninactive_file 100\nfile 150\n")
    kernel.file(f"{place()}/memory.max", "1000\n")
    kernel.file(f"{place()}/memory.events", "low 0\noom 7\noom_kill 2\n")
    kernel.file(f"{place()}/cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    assert cgroups.usage(10) == Usage(memory=200, memory_limit=1000, processor=2.5, killed=2)
    kernel.file(f"{place()}/memory.max", "max\n")
    assert cgroups.usage(10) == Usage(memory=200, memory_limit=None, processor=2.5, killed=2)
    assert cgroups.counts_memory() and cgroups.counts_processes()


def test_version_one(kernel: Kernel) -> None:
    kernel.process(10, f"4:memory:{place()}", f"2:cpu,cpuacct:{place()}", f"1:name=systemd:{place()}")
    kernel.file(f"memory{place()}/memory.usage_in_bytes", "300\n")
    kernel.file(f"memory{place()}/memory.stat", "inactive_file 1\ntotal_inactive_file 100\n")
    kernel.file(f"memory{place()}/memory.limit_in_bytes", "1000\n")
    kernel.file(f"memory{place()}/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    kernel.file(f"cpuacct{place()}/cpuacct.usage", "1500000000\n")
    assert cgroups.usage(10) == Usage(memory=200, memory_limit=1000, processor=1.5, killed=3)
    # "No limit", as version 1 says it.
    kernel.file(f"memory{place()}/memory.limit_in_bytes", "9223372036854771712\n")
    assert cgroups.usage(10) == Usage(memory=200, memory_limit=None, processor=1.5, killed=3)
    assert cgroups.counts_memory() and not cgroups.counts_processes()


def test_both_versions_side_by_side(kernel: Kernel) -> None:
    kernel.process(10, f"4:memory:{place()}", f"0::{place()}")
    kernel.file(f"memory{place()}/memory.usage_in_bytes", "300\n")
    kernel.file(f"unified{place()}/cpu.stat", "usage_usec 1000000\n")
    assert cgroups.usage(10) == Usage(memory=300, memory_limit=None, processor=1.0, killed=0)


def test_a_controller_that_counts_for_the_whole_computer_is_not_the_servers(kernel: Kernel) -> None:
    kernel.process(10, f"1:name=systemd:{place()}", "2:cpuacct:/", "4:memory:/", "0::/")
    kernel.file("cgroup.controllers", "\n")
    kernel.file("cpu.stat", "usage_usec 99000000\n")
    kernel.file("memory/memory.usage_in_bytes", "300\n")
    kernel.file("cpuacct/cpuacct.usage", "99\n")
    assert cgroups.usage(10) == Usage(memory=None, memory_limit=None, processor=None, killed=0)


@pytest.mark.parametrize("text", ["", "many\n", "usage_usec\n"])
def test_files_that_say_nothing(kernel: Kernel, text: str) -> None:
    kernel.process(10, f"0::{place()}")
    kernel.file("cgroup.controllers", "memory\n")
    for name in ("memory.current", "memory.stat", "memory.max", "memory.events", "cpu.stat"):
        kernel.file(f"{place()}/{name}", text)
    assert cgroups.usage(10) == Usage(memory=None, memory_limit=None, processor=None, killed=0)


def test_the_memory_of_the_computer_or_of_the_container(kernel: Kernel) -> None:
    (kernel.proc / "meminfo").write_text("MemTotal:        4000 kB\nMemFree: 1 kB\n", "ascii")
    assert cgroups.total_memory() == 4_096_000
    kernel.file("memory.max", "max\n")
    assert cgroups.total_memory() == 4_096_000
    kernel.file("memory.max", "1000000\n")
    assert cgroups.total_memory() == 1_000_000


def test_a_kernel_without_these_controllers(kernel: Kernel) -> None:
    kernel.file("cgroup.controllers", "cpu io\n")
    assert not cgroups.counts_memory() and not cgroups.counts_processes()


def test_a_process_that_may_not_be_looked_into_is_still_its_owners(kernel: Kernel) -> None:
    """Its folder in /proc is then root's: who could hide like that would get out of the scope, or outlive a stop."""
    kernel.process(10, f"0::{place()}")
    assert (kernel.proc / "10").stat().st_uid != ME
    assert cgroups.scope_of(10) == SCOPE.format(uid=ME)
    kernel.process(11, f"0::{place()}", uid=0)
    assert cgroups.scope_of(11) == "", "a program with root's rights, which nobody could signal"


# -- how much more fits -------------------------------------------------------------------------------

MEMINFO = "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable: {} kB\nSwapTotal: 900 kB\nSwapFree: {} kB\n"


def meminfo(kernel: Kernel, available: int, swap: int = 0) -> None:
    (kernel.proc / "meminfo").write_text(MEMINFO.format(available, swap), "ascii")


def test_what_is_left_of_a_computer(kernel: Kernel) -> None:
    meminfo(kernel, 1000)
    assert cgroups.free_memory() == [FreeMemory(1_024_000, 0, 4_096_000)]
    meminfo(kernel, 1000, 2000)
    (left,) = cgroups.free_memory()
    assert left.room == 2_048_000, "what nobody uses can go to swap"
    kernel.file("memory.max", "max\n")
    kernel.file("memory.current", "5\n")
    kernel.file("memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    kernel.file("memory/memory.usage_in_bytes", "5\n")
    assert len(cgroups.free_memory()) == 1


@pytest.mark.parametrize("text", ["", "MemTotal: 4000 kB\n", "MemAvailable: 4000 kB\n", "MemTotal: x\nMemAvailable:\n"])
def test_what_is_not_known_is_not_short(kernel: Kernel, text: str) -> None:
    assert cgroups.free_memory() == []
    (kernel.proc / "meminfo").write_text(text, "ascii")
    assert cgroups.free_memory() == []


def test_what_is_left_of_a_container_whose_meminfo_is_the_hosts(kernel: Kernel) -> None:
    meminfo(kernel, 3000, 500)
    kernel.file("memory.max", "1000000\n")
    kernel.file("memory.current", "900000\n")
    assert cgroups.free_memory()[1] == FreeMemory(100_000, 512_000, 1_000_000)
    kernel.file("memory.stat", "anon 1\ninactive_file 200000\nactive_file 50000\n")
    kernel.file("memory.swap.max", "300000\n")
    kernel.file("memory.swap.current", "290000\n")
    assert cgroups.free_memory()[1] == FreeMemory(325_000, 10_000, 1_000_000)
    kernel.file("memory.current", "9900000\n")
    assert cgroups.free_memory()[1].memory == 0


@pytest.mark.parametrize("prefix", ["", "/lxc/101"])
def test_what_is_left_for_all_servers(kernel: Kernel, prefix: str) -> None:
    meminfo(kernel, 3000)
    directory = f"{prefix}/jupyterhub4family.slice"
    kernel.file("cgroup.controllers", "memory\n")
    kernel.file(f"{directory}/memory.max", "1000000\n")
    kernel.file(f"{directory}/memory.current", "400000\n")
    kernel.process(10, f"0::{prefix}{place()}")
    kernel.process(11, "0::/user.slice")
    assert cgroups.free_memory(10)[1:] == [FreeMemory(600_000, 0, 1_000_000)]
    assert cgroups.free_memory(11)[1:] == cgroups.free_memory(99)[1:] == cgroups.free_memory(0)[1:] == []


def test_the_same_with_version_1(kernel: Kernel) -> None:
    meminfo(kernel, 3000)
    kernel.process(10, f"1:name=systemd:{place()}", f"4:memory:{place()}", "0::/")
    kernel.file("memory/jupyterhub4family.slice/memory.limit_in_bytes", "1000000\n")
    kernel.file("memory/jupyterhub4family.slice/memory.usage_in_bytes", "700000\n")
    kernel.file("memory/jupyterhub4family.slice/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n")
    assert cgroups.free_memory(10)[1:] == [FreeMemory(400_000, 0, 1_000_000)]
