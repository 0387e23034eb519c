"""Installing, upgrading, removing: as a parent does it, on a plain Debian."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.machine.lib import layers
from tests.machine.lib.deb import build_deb
from tests.machine.lib.family import (
    PASSWORD,
    add_member,
    browser,
    logged_in,
    nothing_has_changed,
    processes_of_ours,
    ready,
    snapshot,
)
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import REPOSITORY
from tests.machine.lib.plugin import NewMachine
from tests.machine.lib.project import commands_of_readme

ACCOUNT_ENTRIES = "getent passwd jupyterhub; getent group jupyterhub jupyterhub_adm; true"
HOME = "/var/lib/jupyterhub4family"


def put_clone(machine: Machine, where: str = "/root/clone") -> None:
    """What `git clone` would give, with what is not committed yet: the files git knows or would add."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    existing = b"\0".join(name for name in listed.split(b"\0") if name and (REPOSITORY / name.decode()).is_file())
    archive = Path(str(machine.path("/root"))) / "clone.tar"
    subprocess.run(
        ["tar", "--create", "--null", "--files-from=-", f"--file={archive}"], cwd=REPOSITORY, input=existing, check=True
    )
    machine.run(f"mkdir -p {where} && tar --no-same-owner -xf /root/clone.tar -C {where} && rm /root/clone.tar")


@pytest.mark.any_debian
@pytest.mark.slow
def test_the_readmes_first_command(new_machine: NewMachine, suite: str) -> None:
    """./install on a fresh machine; then work; then again as an upgrade; then remove, and purge."""
    machine = new_machine(suite, layer="base")
    put_clone(machine)
    answers = _watch_the_port(machine)
    install = commands_of_readme()[0].replace("sudo ./", "/root/clone/")  # root needs no sudo, which is not there yet
    output = machine.run(f"cd /tmp && {install} </dev/null 2>&1", timeout=840)
    codes = answers()
    assert "JupyterHub is running" in output and f"https://{machine.ip}:8000/" in output, output
    assert "%" in output, "it tells how far it is"
    assert _without_what_differs(output) == _without_what_differs(_shown()), "the handbook shows what it says"
    assert 503 in codes and codes[-1] == 200, "the port has answered before the portal did"
    assert machine.execute("dpkg -s debhelper").returncode != 0, "the tools for building are gone again"
    assert machine.execute("dpkg -s nodejs npm").returncode != 0

    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("kept = 42")
        machine.write("/root/clone/debian/changelog", _newer_changelog())
        output = machine.run("/root/clone/install </dev/null 2>&1", timeout=840)
        assert "0.1.1" in machine.run("dpkg-query -W jupyterhub4family")
        kernel.reconnect()
        assert kernel.execute("kept") == "42", "an upgrade in place leaves kernels alone"

    machine.run("apt-get remove -y jupyterhub4family </dev/null >/dev/null 2>&1")
    assert processes_of_ours(machine) == ""
    assert machine.run("ps -u alice --no-headers", check=False).strip() == ""
    assert machine.exists(f"{HOME}/state/jupyterhub.sqlite"), "remove keeps the state"
    machine.run("apt-get purge -y jupyterhub4family </dev/null >/dev/null 2>&1")
    assert machine.run(ACCOUNT_ENTRIES).strip() == ""
    assert machine.run("find / -xdev -not -path '/proc/*' -not -path '/root/*' -name '*jupyterhub*'"
                       " -not -path '/home/*' -not -path '/var/log/*'").strip() == ""  # fmt: skip
    assert machine.exists("/home/alice/.local/share/jupyterhub4family/env"), "a member's home is never touched"


def _shown() -> str:
    """What docs/howto/install.md shows of ./install."""
    return (REPOSITORY / "docs/howto/install.md").read_text("utf-8").partition("```text\n")[2].partition("```")[0]


def _without_what_differs(output: str) -> list[str]:
    """Its lines but for what differs, and for steps that may be too quick to be seen.

    These are the machine's address and fingerprint, and the version.
    """
    text = re.sub(r"//[\d.]+:", "//ADDRESS:", re.sub(r"\b(?:[0-9A-F]{2}:?){15,16}", "FINGERPRINT", output))
    text = re.sub(r"Version [\w.+~]+,", "Version,", text)
    return [line for line in text.strip().splitlines() if "%" not in line]


def _newer_changelog() -> str:
    text = (REPOSITORY / "debian/changelog").read_text("utf-8")
    return re.sub(r"\([^)]+\)", "(0.1.1)", text, count=1)


def _watch_the_port(machine: Machine):  # type: ignore[no-untyped-def]
    """Ask the portal all the time, from another thread; the result ends it and gives all the status codes."""
    codes: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with browser(machine) as window:
                try:
                    code = window.status("/hub/login")
                except Exception:
                    code = 0
            if not codes or codes[-1] != code:
                codes.append(code)
            time.sleep(0.3)

    thread = threading.Thread(target=watch)
    thread.start()

    def result() -> list[int]:
        ended.set()
        thread.join()
        return codes

    return result


#: Half of what the stock stack fetches until its first member works (docs/reference/performance.md).
MOST_MEGABYTES = 205


def _received(machine: Machine) -> float:
    """What has come over the machine's network cable since it was booted, in megabytes."""
    return int(machine.run("cat /sys/class/net/host0/statistics/rx_bytes")) / 1e6


@pytest.mark.any_debian
@pytest.mark.slow
def test_dpkg_then_apt_fix_broken(new_machine: NewMachine, deb: Path, suite: str) -> None:
    """On a plain Debian; and how much that fetches until the first member works."""
    machine = new_machine(suite, layer="base")
    machine.put(deb, "/root/j.deb")
    before = _received(machine)
    machine.run("apt-get update -qq")
    assert machine.execute("dpkg -i /root/j.deb").returncode != 0, "its dependencies are missing on a plain Debian"
    machine.run("apt-get install -y --fix-broken --no-install-recommends </dev/null >/dev/null 2>&1")
    machine.wait_http("/hub/login", timeout=400)
    assert machine.execute("jupyterhub4family status").returncode == 0
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server(timeout=400)
        assert alice.kernel().execute("6*7") == "42"
    fetched = _received(machine) - before
    print(f"fetched {fetched:.1f} MB")
    assert fetched <= MOST_MEGABYTES
    assert "longer way" not in machine.run("jupyterhub4family logs hub", check=False)


@pytest.mark.every_init
def test_purge_leaves_the_machine_as_it_was(new_machine: NewMachine, deb: Path, init: str, suite: str) -> None:
    """Twice: in the middle of the first build, and with members and running servers."""
    machine = new_machine(suite, layer="deps", init=init)
    machine.put(deb, "/root/j.deb")
    machine.add_account("alice", PASSWORD)
    before = snapshot(machine)

    machine.run("apt-get install -y /root/j.deb </dev/null >/dev/null 2>&1")
    machine.wait(f"ls -A {HOME}/releases | grep -q building", timeout=60)
    machine.run("apt-get purge -y jupyterhub4family </dev/null >/dev/null 2>&1")
    nothing_has_changed(machine, before)

    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
    machine.run("jupyterhub4family members add alice; gpasswd -a alice jupyterhub_adm")
    machine.wait_http("/hub/login", timeout=400)
    with logged_in(machine, "alice") as alice:
        alice.start_server(timeout=400)
    machine.run("apt-get purge -y jupyterhub4family </dev/null >/dev/null 2>&1")
    nothing_has_changed(machine, before)
    assert machine.exists("/home/alice/.local/share/jupyterhub4family/env")


@pytest.mark.any_debian
def test_remove_keeps_state_and_reinstall_takes_it_up(new_machine: NewMachine, deb: Path, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        cookies = alice.cookies
        release = machine.run(f"readlink {HOME}/releases/current")
        machine.run("apt-get remove -y jupyterhub4family </dev/null >/dev/null 2>&1")
        assert processes_of_ours(machine) == ""
        assert machine.execute("curl -sk https://127.0.0.1:8000/").returncode != 0
        machine.put(deb, "/root/j.deb")
        machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
        machine.wait_http("/hub/login", timeout=60)
        assert machine.run(f"readlink {HOME}/releases/current") == release, "nothing is built anew"
        assert cookies is not None and alice.status("/hub/home", follow=False) == 200, "the login is still good"
        machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
        machine.wait_http("/hub/login", timeout=60)


@pytest.mark.any_debian
def test_upgrade_and_downgrade_of_the_package(new_machine: NewMachine, deb: Path, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    newer = build_deb("0.1.0+test1")
    for package in (newer, deb):
        machine.put(package, "/root/j.deb")
        machine.run("apt-get install -y --allow-downgrades /root/j.deb </dev/null >/dev/null 2>&1")
        # Under way from now on: a trial login, and then everybody's.
        layers.wait_until_ready(machine, timeout=240)
        assert machine.execute("jupyterhub4family status").returncode == 0


@pytest.mark.any_debian
def test_install_refuses_with_one_clear_line(new_machine: NewMachine, suite: str) -> None:
    machine = new_machine(suite, layer="base")
    put_clone(machine)
    packages = machine.run("dpkg-query -W")

    def refused(status: int, *args: str) -> None:
        done = machine.execute("/root/clone/install </dev/null", timeout=300)
        assert done.returncode == status, done
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 2 and lines[1].startswith("Try: "), done.stderr
        assert all(word in done.stderr for word in args), done.stderr
        assert machine.run("dpkg-query -W") == packages, "nothing is half-installed"
        assert machine.run(ACCOUNT_ENTRIES).strip() == ""

    release = machine.read("/etc/os-release")
    machine.write("/etc/os-release", re.sub('VERSION_ID="[0-9]+"', 'VERSION_ID="10"', release))
    refused(3, "Debian 11, 12 or 13", "10")
    machine.write("/etc/os-release", release.replace("ID=debian", "ID=gentoo"))
    refused(3, "gentoo")
    machine.write("/etc/os-release", release)

    listen = "IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die; sleep 600"
    machine.run(f"setsid perl -MIO::Socket::INET -e '$s = {listen}' >/dev/null 2>&1 </dev/null & sleep 1")
    refused(9, "port 8000")
    machine.run("pkill perl")

    machine.internet(False)
    refused(7, "internet connection")
    machine.internet(True)

    machine.run("useradd -m tim")
    machine.run("cp -r /root/clone /home/tim/ && chown -R tim: /home/tim/clone")
    done = machine.execute("/home/tim/clone/install", user="tim")
    assert done.returncode == 4 and "root" in done.stderr, done


@pytest.mark.with_cron
def test_install_where_nothing_may_be_started(new_machine: NewMachine, deb: Path, suite: str) -> None:
    """A container: policy-rc.d forbids starting, and neither systemd nor cron would do it later."""
    machine = new_machine(suite, layer="deps", init="sysvinit")
    put_clone(machine)
    machine.put(deb, "/root/j.deb")
    machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    machine.run("/etc/init.d/cron stop")
    output = machine.run("/root/clone/install --deb /root/j.deb </dev/null 2>&1", timeout=600)
    assert "Nothing has started JupyterHub on this machine, so this does" in output
    assert "nobody restarts" in output
    assert "JupyterHub is running" in output
    machine.wait_http("/hub/login")


@pytest.mark.any_debian
@pytest.mark.slow
def test_without_the_deb(new_machine: NewMachine, suite: str) -> None:
    machine = new_machine(suite, layer="deps")
    before = snapshot(machine)
    put_clone(machine)
    output = machine.run("/root/clone/install --without-deb </dev/null 2>&1", timeout=600)
    assert "JupyterHub is running" in output
    assert machine.execute("dpkg -s jupyterhub4family").returncode != 0
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server(timeout=400)
        assert alice.kernel().execute("1+1") == "2"
    machine.reboot()
    machine.wait_http("/hub/login", timeout=60)
    machine.run("/usr/lib/jupyterhub4family/setup remove --disable")
    machine.run("cd /root/clone && sh debian/jupyterhub4family.postrm purge && make uninstall")
    machine.run("userdel -r alice; apt-get purge -y --autoremove make gettext >/dev/null 2>&1")
    difference = [line for line in before.difference(snapshot(machine)).splitlines() if "/home/alice" not in line]
    assert difference == [], difference


@pytest.mark.any_debian
def test_an_unfetchable_release_is_told_and_retried(new_machine: NewMachine, deb: Path, suite: str) -> None:
    machine = new_machine(suite, layer="deps")
    machine.put(deb, "/root/j.deb")
    machine.internet(False)
    machine.run("dpkg -i /root/j.deb >/dev/null 2>&1")
    machine.wait("jupyterhub4family status | grep -q Problem:", timeout=120)
    output = machine.execute("jupyterhub4family status")
    assert output.returncode == 6 and "internet connection" in output.stdout, output
    page = browser(machine).get("/")
    assert page.status == 503 and "being set up" in page.text
    progress = json.loads(browser(machine).get("/setup-progress.json").text)
    assert progress["failed"] is True and progress["hint"]
    machine.internet(True)
    machine.wait_http("/hub/login", timeout=400)
