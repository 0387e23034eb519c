"""Does the harness do what the other tests rely on?"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.machine.lib import DEBIANS, health, layers, leases, store
from tests.machine.lib.deb import build_deb, field
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import HOST_STATE, REPOSITORY
from tests.machine.lib.plugin import NewMachine

EVERY_MACHINE = [(suite, init) for init in ("systemd", "sysvinit") for suite in DEBIANS]


@pytest.mark.parametrize(("suite", "init"), EVERY_MACHINE)
def test_boots_and_reboots(new_machine: NewMachine, suite: str, init: str) -> None:
    machine = new_machine(suite, init=init)
    assert f"VERSION_CODENAME={suite}" in machine.read("/etc/os-release")
    first = "systemd" if init == "systemd" else "init"
    assert machine.read("/proc/1/comm").strip() == first
    assert machine.exists("/run/systemd/system") == (init == "systemd")
    assert machine.run("hostname; getent hosts $(hostname)").split()[0] == "familybox"
    machine.run("pgrep -x cron")
    machine.write("/etc/stays", "here")
    machine.write("/run/goes", "away")
    machine.reboot()
    assert machine.read("/etc/stays") == "here"
    assert not machine.exists("/run/goes")
    machine.stop()
    machine.start()
    assert machine.read("/etc/stays") == "here"


def test_commands_and_accounts(new_machine: NewMachine) -> None:
    machine = new_machine("bookworm")
    machine.run("groupadd family")
    machine.add_account("alice", "pass word's", groups=("family",))
    assert machine.run("whoami; pwd; echo $LANG", user="alice").split() == [
        "alice",
        "/home/alice",
        "C.UTF-8",
    ]
    assert "family" in machine.run("id -nG", user="alice")
    assert "/run/user/" in machine.login("alice", "echo $XDG_RUNTIME_DIR")
    assert "user.slice" in machine.login("alice", "cat /proc/self/cgroup")
    assert machine.run("cat", input="through stdin") == "through stdin"
    assert machine.execute("exit 3").returncode == 3
    with pytest.raises(AssertionError, match="said so"):
        machine.run("echo said so >&2; false")
    assert machine.wait("test -e /tmp/x || { touch /tmp/x; false; }") < 5
    with pytest.raises(TimeoutError, match="no luck"):
        machine.wait("echo no luck; false", timeout=0.3)


def test_a_command_that_hangs_is_ended(new_machine: NewMachine) -> None:
    machine = new_machine("bookworm")
    machine.add_account("alice", "secret")
    with pytest.raises(subprocess.TimeoutExpired):
        machine.run("sleep 1234", user="alice", timeout=1)
    machine.wait("! pgrep -x sleep", timeout=5)


def test_files(new_machine: NewMachine, tmp_path: Path) -> None:
    machine = new_machine("trixie")
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("one")
    machine.put(tmp_path / "tree", "/opt/tree")
    machine.put(tmp_path / "tree/sub/file", "/tmp/file")
    assert machine.read("/opt/tree/sub/file") == machine.read("/tmp/file") == "one"
    machine.write("/opt/deep/er/script", "#!/bin/sh\necho ran\n", mode=0o755)
    assert machine.run("/opt/deep/er/script") == "ran\n"
    machine.run("ln -s /nowhere /opt/broken")
    assert machine.exists("/opt/broken")
    assert not machine.exists("/opt/nothing")


def test_network(new_machine: NewMachine) -> None:
    one, other = new_machine("bookworm"), new_machine("trixie")
    assert one.ip != other.ip
    server = "perl -MIO::Socket::INET -e '$s=IO::Socket::INET->new(LocalPort=>8000,Listen=>5,"
    server += 'ReuseAddr=>1); while($c=$s->accept){<$c>; print $c "HTTP/1.0 200 OK\\r\\n\\r\\nhi"; close $c}'
    one.run(f"setsid {server}' >/dev/null 2>&1 </dev/null &")
    assert one.wait_http("/", timeout=10, scheme="http") < 10
    # Wherever this Debian has its packages from.
    mirror = "$(grep -rhoE 'https?://[^ ]+' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1)"
    reach_world = f"curl --silent --max-time 5 --output /dev/null {mirror}"
    reach_neighbour = f"curl --silent --max-time 3 --output /dev/null http://{one.ip}:8000/"
    other.run(reach_world)
    other.internet(False)
    assert other.execute(reach_world).returncode != 0
    other.run(reach_neighbour)
    other.internet(True)
    other.run(reach_world)
    one.unplug()
    assert other.execute(reach_neighbour).returncode != 0
    with pytest.raises(TimeoutError):
        one.wait_http("/", timeout=0.5, scheme="http")
    one.reboot()
    assert other.execute(reach_neighbour).returncode != 0, "the cable stays out over a reboot"
    one.plug()
    one.run(reach_world)


@pytest.mark.parametrize("lose", [False, True])
def test_power_cut(new_machine: NewMachine, lose: bool) -> None:
    machine = new_machine("bookworm", disk_mb=300)
    size = int(machine.run("df --block-size=1M --output=size / | tail -1"))
    assert size < 300
    machine.run("echo synced > /srv/synced; sync; echo loose > /srv/loose")
    machine.power_cut(lose_unsynced=lose)
    machine.start()
    assert machine.read("/srv/synced") == "synced\n"
    kept = machine.exists("/srv/loose") and machine.read("/srv/loose") == "loose\n"
    assert kept is not lose


def test_a_disk_is_free_at_once_whoever_booted_meanwhile(new_machine: NewMachine) -> None:
    machine = new_machine("bookworm", disk_mb=200)
    others = [new_machine("trixie", init=init) for init in ("systemd", "sysvinit")]
    machine.power_cut(lose_unsynced=True)
    machine.start()
    machine.run("echo works > /srv/file")
    assert all(other.run("echo alive") for other in others)


def test_a_disk_can_be_full(new_machine: NewMachine) -> None:
    machine = new_machine("trixie", disk_mb=200)
    assert machine.execute("head -c 300M /dev/zero > /srv/fill").returncode != 0
    machine.run("rm /srv/fill; echo fits > /srv/file")


@pytest.mark.every_debian
def test_memory_limits_work(new_machine: NewMachine, suite: str) -> None:
    machine = new_machine(suite, memory_cgroup=True)
    machine.write("/opt/eat", 'my $x = "x" x 2e8;\n')
    limited = "systemd-run --quiet --wait --pipe -p MemorySwapMax=0 -p MemoryMax={} perl /opt/eat"
    machine.run(limited.format("1G"))
    assert machine.execute(limited.format("100M")).returncode != 0
    machine.run("systemctl reset-failed")


def test_layers(new_machine: NewMachine, tmp_path: Path) -> None:
    first = new_machine("bookworm")
    first.run("echo lower > /opt/a; echo lower > /opt/b; rm /etc/issue")
    # Beside the machines, as real layers are: on some hosts /tmp is memory without overlayfs.
    layer = first.freeze_layer(first.directory / "layer")
    with Machine("bookworm", [layer]) as second:
        second.run("echo upper > /opt/b; ln /opt/a /opt/linked")
        assert second.read("/opt/a") == second.read("/opt/linked") == "lower\n"
        assert not second.exists("/etc/issue")
    assert (layer / "opt/b").read_text() == "lower\n"


def test_deps_layer_is_all_but_the_package(new_machine: NewMachine, deb: Path) -> None:
    machine = new_machine("bullseye", layer="deps")
    assert machine.execute(f"dpkg --status {layers.PACKAGE}").returncode != 0
    machine.put(deb, f"/tmp/{deb.name}")
    # dpkg fetches nothing: every dependency is there.
    machine.run(f"dpkg --install /tmp/{deb.name} </dev/null")
    machine.run("apt-get install --yes --no-install-recommends hello")


@pytest.mark.parametrize(("suite", "init"), [("bookworm", "systemd"), ("trixie", "sysvinit")])
def test_installed_layer_serves(new_machine: NewMachine, deb: Path, suite: str, init: str) -> None:
    machine = new_machine(suite, layer="installed", init=init)
    layers.wait_until_ready(machine)
    assert machine.run(f"dpkg-query -W -f '${{Version}}' {layers.PACKAGE}") == field(deb, "Version")


def test_another_version_is_only_another_version(deb: Path) -> None:
    other = build_deb("9.9+test1")
    assert field(other, "Version") == "9.9+test1"
    assert field(other, "Depends") == field(deb, "Depends")
    assert build_deb("9.9+test1") == other


def test_a_healthy_machine_passes(new_machine: NewMachine) -> None:
    machine = new_machine("trixie")
    assert health.problems(machine) == []
    machine.stop()
    assert health.problems(machine) == []


@pytest.mark.xfail(raises=health.Unhealthy, reason="this is the proof that the check can fail")
def test_a_failed_unit_fails_the_test(new_machine: NewMachine) -> None:
    new_machine("bookworm").execute("systemd-run --unit=broken --wait false")


CRASH = "perl -e 'print qq(before\\nTraceback (most recent call last):\\n  File x\\nKeyError: 42\\nafter\\n)'"


@pytest.mark.xfail(raises=health.Unhealthy, reason="this is the proof that the check can fail")
@pytest.mark.parametrize(
    "command",
    [
        f"{CRASH} | systemd-cat",
        f"{CRASH} > /var/log/some.log",
        f"d=/var/lib/jupyterhub4family/state/log; mkdir -p $d; {CRASH} > $d/hub.log",
        f"d=/home/a/.local/state/jupyterhub4family; mkdir -p $d; {CRASH} > $d/x.log",
    ],
    ids=["journal", "var-log", "service", "member"],
)
@pytest.mark.parametrize("off", [False, True], ids=["on", "off"])
def test_a_traceback_fails_the_test(new_machine: NewMachine, command: str, off: bool) -> None:
    machine = new_machine("bookworm")
    machine.run(command)
    machine.run("journalctl --sync")
    if off:
        machine.stop()


def test_what_a_test_announces_is_allowed(new_machine: NewMachine) -> None:
    machine = new_machine("bookworm")
    machine.expect_failed("broken.service")
    machine.expect_log("KeyError: 42")
    machine.execute("systemd-run --unit=broken --wait false")
    machine.run(f"{CRASH} > /var/log/some.log")
    health.check(machine)
    machine.run(f"{CRASH} | sed s/KeyError/OSError/ >> /var/log/some.log")
    with pytest.raises(health.Unhealthy, match="OSError"):
        health.check(machine)
    machine.run("rm /var/log/some.log")


def test_tracebacks_are_cut_out_of_a_log() -> None:
    log = """\
request came
Traceback (most recent call last):
  File "a", line 1, in b
    c
ValueError: first

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "d", line 1, in e
TypeError: second
all quiet
Traceback (most recent call last):
  File "f"
OSError: alone
Traceback (most recent call last):
[I 2026-11-23 08:08:28.957 ServerApp] 200 GET /user/alice/api/sessions (alice) 18.63ms
  File "g", line 3, in h
KeyboardInterrupt
"""
    chained, alone, mixed = health.tracebacks(log)
    assert chained.startswith("request came\n")
    assert chained.endswith("TypeError: second")
    assert alone == 'all quiet\nTraceback (most recent call last):\n  File "f"\nOSError: alone'
    assert mixed.endswith("KeyboardInterrupt")


def test_a_killed_run_leaves_nothing_for_ever() -> None:
    program = (
        "import sys, time; from tests.machine.lib.machine import Machine\n"
        "m = Machine('bookworm').start(); print(m.name, m.directory, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        name, directory = run.stdout.readline().split()
        run.kill()
    assert Path(directory).exists()
    leases.take().release()
    assert not Path(directory).exists()
    assert not Path("/run/netns", name).exists()
    assert f"--machine={name}" not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout


def test_nothing_remains_of_a_machine() -> None:
    with Machine("bookworm") as machine:
        directory, cable = machine.directory, Path(f"/sys/class/net/vb-{machine.name}")
        assert cable.exists()
        assert (HOST_STATE / "machines" / machine.name.removeprefix("j4ft")).read_text()
    assert not directory.exists()
    assert not cable.exists()


def test_store_builds_once_and_prunes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CACHE", tmp_path)
    built = []

    def build(directory: Path) -> None:
        built.append(directory)
        (directory / "file").write_text("whole")

    first = store.get("kind", "name", "a", build)
    assert store.get("kind", "name", "a", build) == first
    assert (first / "file").read_text() == "whole"
    assert len(built) == 1
    for key in "bcd":
        store.get("kind", "name", key, build, keep=1)
        time.sleep(0.01)
    assert first.exists(), "what this process uses stays"
    with pytest.raises(ZeroDivisionError):
        store.get("kind", "name", "z", lambda _: print(1 / 0))
    assert not list((tmp_path / "kind").glob("*z*"))
