"""doctor: on a healthy machine all is well; each of many defects is named with what to try; --fix, --deep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.machine.lib.family import PASSWORD, STATE, TEMPLATE, add_member, nothing_has_changed, ready, snapshot
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

HOME = "/var/lib/jupyterhub4family"
RELEASE = f"{HOME}/releases/current"
LIBRARY = "/usr/lib/jupyterhub4family"


def examine(machine: Machine, *args: str, user: str | None = None) -> dict[str, Any]:
    """What `doctor --json` says; its exit status must agree with it."""
    done = machine.execute(f"jupyterhub4family doctor --json {' '.join(args)}", user=user, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    reported: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if reported["state"] == "problem" else 0), done
    return reported


def findings(reported: dict[str, Any], state: str) -> list[dict[str, Any]]:
    return [one for one in reported["findings"] if one["state"] == state]


def sentences(reported: dict[str, Any], state: str = "problem") -> str:
    return "\n".join(one["sentence"] for one in findings(reported, state))


@dataclass(frozen=True)
class Defect:
    """How to break something, which check names it by which words, and how to undo it where --fix does not."""

    breaking: str
    check: str
    args: str
    undo: str = ""


DEFECTS = [
    Defect("chmod 0640 /etc/sudoers.d/jupyterhub4family", "sudoers", "0440"),
    Defect(
        "echo 'jupyterhub ALL=(ALL) NOPASSWD: ALL' >> /etc/sudoers.d/jupyterhub4family", "sudoers", "not the packaged"
    ),
    Defect("echo nonsense >> /etc/sudoers.d/jupyterhub4family", "sudoers", "does not accept"),
    Defect("rm /etc/sudoers.d/jupyterhub4family", "sudoers", "missing"),
    Defect(
        "echo 'jupyterhub ALL=(ALL) NOPASSWD: /usr/bin/apt' > /etc/sudoers.d/extra",
        "sudoers",
        "/usr/bin/apt",
        "rm /etc/sudoers.d/extra",
    ),
    Defect("rm /etc/pam.d/jupyterhub4family", "pam", "missing"),
    Defect("chmod 0666 /etc/pam.d/jupyterhub4family", "pam", "change"),
    Defect(f"chmod 0775 {LIBRARY}/authenticate", "doors", "authenticate"),
    Defect(f"chown nobody {LIBRARY}/jupyterhub4family/common", "doors", "common"),
    Defect(f"sed -i '1s/ -IS$//' {LIBRARY}/mediator", "programs", "mediator is '#!/usr/bin/python3'"),
    Defect(f"echo '# x' >> {LIBRARY}/setup", "programs", "setup is not the packaged"),
    Defect(f"chmod 0700 {LIBRARY}/own-environment", "programs", "0700"),
    Defect("chown nobody /usr/bin/jupyterhub-members", "programs", "jupyterhub-members must belong to root"),
    Defect("gpasswd -a jupyterhub shadow", "account", "shadow"),
    Defect("gpasswd -a jupyterhub jupyterhub", "account", "for people"),
    Defect("echo 'jupyterhub:secret123' | chpasswd", "account", "password"),
    Defect("usermod -s /usr/sbin/nologin jupyterhub", "account", "shell"),
    Defect("groupdel jupyterhub_adm", "groups", "jupyterhub_adm"),
    Defect(f"chmod 0755 {STATE}", "folders", STATE),
    Defect("systemctl disable -q jupyterhub4family-hub", "supervisor", "not started at boot"),
    Defect("jupyterhub4family stop", "portal", "does not answer"),
    Defect(
        "rm -r /home/alice/.local/share/jupyterhub4family/env/lib/python3*/site-packages/jupyterlab",
        "environments",
        "alice is broken",
    ),
    # Everything looks complete, and no server would start.
    Defect(
        "rm -r /home/alice/.local/share/jupyterhub4family/env/lib/python3*/site-packages/tornado",
        "environments",
        "No module named 'tornado'",
    ),
    # What nobody but a person can decide.
    Defect("gpasswd -a daemon jupyterhub", "members", "daemon", "gpasswd -d daemon jupyterhub"),
    Defect("chmod 0777 /home/alice", "homes", "alice", "chmod 0700 /home/alice"),
    Defect("chown root /home/alice", "homes", "alice", "chown alice /home/alice"),
    Defect(
        "mkdir -p /etc/jupyterhub4family && echo 'prot: 1' > /etc/jupyterhub4family/config.yaml",
        "settings",
        "prot",
        "rm -r /etc/jupyterhub4family",
    ),
    Defect(
        f"cd {LIBRARY}/jupyterhub4family/common/system && cp -a files.py /root/ && echo '# x' >> files.py",
        "package",
        "files.py",
        f"cp -a /root/files.py {LIBRARY}/jupyterhub4family/common/system/",
    ),
]


@pytest.mark.any_debian
def test_defects_are_named_and_mended(new_machine: NewMachine, suite: str) -> None:
    """One by one: named with something to try; gone after --fix, or, where a person has to decide, left alone."""
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run("chmod 0700 /home/alice")
    assert examine(machine)["state"] != "problem"
    for defect in DEFECTS:
        machine.run(defect.breaking)
        reported = examine(machine, defect.check)
        named = [one for one in findings(reported, "problem") if one["check"] == defect.check]
        assert named and any(defect.args in one["sentence"] for one in named), (defect, reported["findings"])
        assert all(one["hint"] for one in findings(reported, "problem")), reported
        assert "secret123" not in json.dumps(reported)
        if defect.undo:
            assert not any(one["repairable"] for one in named), defect
            machine.run(defect.undo)
            continue
        reported = examine(machine, "--fix", defect.check)
        assert reported["fixed"], defect
        assert reported["state"] != "problem", (defect, reported)
    assert machine.run("stat -c '%a %U' /etc/sudoers.d/jupyterhub4family").split() == ["440", "root"]
    reported = examine(machine)
    assert reported["state"] != "problem", reported
    kept = machine.read("/etc/sudoers.d/jupyterhub4family.dpkg-old")
    assert "nonsense" in kept or "NOPASSWD: ALL" in kept, "what was there is kept"
    assert machine.run("getent shadow jupyterhub").split(":")[1] == "*"
    machine.run("jupyterhub4family doctor --fix")
    machine.run("systemctl is-active jupyterhub4family-hub jupyterhub4family-proxy")


@pytest.mark.any_debian
def test_damaged_files_of_release_and_template(new_machine: NewMachine, suite: str) -> None:
    """What a bad disk does: found by its sums, fetched again, and a login works afterwards."""
    machine = ready(new_machine(suite, layer="installed"))
    spoilt = machine.run(f"ls -d {RELEASE}/venv/lib/python3*/site-packages/alembic/config.py").strip()
    machine.run(f"printf x >> {spoilt}; : > {RELEASE}/venv/lib/python3*/site-packages/tornado/web.py")
    machine.run(f"rm {TEMPLATE}/lib/python3*/site-packages/notebook/app.py")
    machine.run(f"printf x | dd of={TEMPLATE}/../compressed/files bs=1 seek=5000 conv=notrunc status=none")
    reported = examine(machine)
    found = {one["check"]: one["sentence"] for one in findings(reported, "problem")}
    assert "2 files" in found["release"] and "alembic/config.py" in found["release"], reported
    assert "notebook/app.py" in found["template"] and "compressed/files" in found["template"], reported
    reported = examine(machine, "--fix")
    assert len(reported["fixed"]) >= 2, reported
    machine.wait("jupyterhub4family status", timeout=60)
    reported = examine(machine, "--deep")
    assert reported["state"] != "problem", sentences(reported)


@pytest.mark.any_debian
def test_ports_disk_and_round_trip(new_machine: NewMachine, suite: str) -> None:
    """A taken port and a full disk are named; a trial member goes the whole way and leaves nothing, however it ends."""
    machine = ready(new_machine(suite, layer="installed", disk_mb=6000))
    before = snapshot(machine)
    reported = examine(machine, "disk", "--deep")
    assert any(one["check"] == "round-trip" and one["state"] == "ok" for one in reported["findings"]), reported
    assert "jh4f-probe" not in machine.run("getent passwd; getent group; ls /home")
    nothing_has_changed(machine, before)

    # Interrupted in the middle: the next one clears up.
    machine.run("setsid jupyterhub4family doctor --deep >/dev/null 2>&1 </dev/null & sleep 0")
    machine.wait("getent passwd jh4f-probe", timeout=30)
    machine.run("pkill -9 -f '[/]usr/lib/jupyterhub4family/probe'; sleep 1; getent passwd jh4f-probe")
    reported = examine(machine, "disk", "--deep")
    assert any(one["check"] == "round-trip" and one["state"] == "ok" for one in reported["findings"]), reported
    nothing_has_changed(machine, before)

    # A stranger of that name is left alone.
    machine.add_account("jh4f-probe", PASSWORD)
    reported = examine(machine, "disk", "--deep")
    assert "that jupyterhub4family did not make" in sentences(reported)
    machine.run("getent passwd jh4f-probe && userdel -r jh4f-probe 2>/dev/null")

    machine.run(f"fallocate -l $(( $(df --output=avail -B1 {HOME} | tail -1) - 100000000 )) {HOME}/cache/big")
    reported = examine(machine, "disk")
    assert "disk is full" in sentences(reported), reported
    machine.run(f"rm {HOME}/cache/big")

    machine.run("jupyterhub4family stop; systemctl stop jupyterhub4family-ports.socket")
    listen = "IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die; sleep 600"
    machine.run(f"setsid perl -MIO::Socket::INET -e '$s = {listen}' >/dev/null 2>&1 </dev/null & sleep 1")
    reported = examine(machine, "ports")
    taken = [one["sentence"] for one in findings(reported, "problem") if one["check"] == "ports"]
    assert [sentence for sentence in taken if "8000" in sentence] == ["Port 8000 is taken by perl of root"], reported
    assert any("Nobody holds JupyterHub's ports" in sentence for sentence in taken), reported
    refused = machine.execute("jupyterhub4family start")
    assert refused.returncode == 9 and "port 8000 is unavailable: a program of root has it" in refused.stderr
    reported = examine(machine, "disk", "--deep")
    assert any(one["check"] == "round-trip" and one["state"] == "problem" for one in reported["findings"]), reported
    assert "jh4f-probe" not in machine.run("getent passwd; ls /home")
    machine.run("pkill perl; jupyterhub4family start")
    machine.wait("jupyterhub4family status", timeout=60)


@pytest.mark.with_cron
def test_defects_where_cron_supervises(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    machine.run("crontab -u jupyterhub -r")
    reported = examine(machine, "supervisor")
    assert "crontab" in sentences(reported), reported
    reported = examine(machine, "supervisor", "--fix")
    assert reported["state"] != "problem", reported
    assert "ensure" in machine.run("crontab -u jupyterhub -l")
    machine.run("jupyterhub4family stop")
    assert "stopped by hand" in sentences(examine(machine, "supervisor", "portal"))
    examine(machine, "supervisor", "portal", "--fix")
    machine.wait("jupyterhub4family status", timeout=60)
    assert examine(machine)["state"] != "problem"
    machine.run("/etc/init.d/cron stop")
    reported = examine(machine, "supervisor", "--deep")
    assert "cron is not running" in sentences(reported), reported
    assert any(one["check"] == "round-trip" and one["state"] == "ok" for one in reported["findings"]), reported
    machine.run("/etc/init.d/cron start")


@pytest.mark.every_debian
def test_a_healthy_machine(new_machine: NewMachine, suite: str) -> None:
    _all_is_well(ready(new_machine(suite, layer="installed")))


@pytest.mark.with_cron
def test_a_healthy_machine_with_cron(new_machine: NewMachine, suite: str) -> None:
    _all_is_well(ready(new_machine(suite, layer="installed", init="sysvinit")))


def _all_is_well(machine: Machine) -> None:
    """All is well, root sees everything, others are told what they cannot see, and looking changes nothing."""
    add_member(machine, "alice")
    before = snapshot(machine)
    reported = examine(machine)
    assert reported["state"] in ("ok", "warning"), sentences(reported)
    assert findings(reported, "not checkable") == []
    for one in findings(reported, "warning"):
        assert one["hint"], one
        # Known of these machines: no backup; no avahi; a home as this Debian makes it; versions of which there is no
        # newer one; no limits without systemd, or where the host's kernel counts for itself (test_limits.py has it
        # otherwise).
        assert one["check"] in ("backup", "names", "homes", "release", "template", "limits"), one
    response = machine.run("jupyterhub4family doctor portal")
    assert "No problems." in response and "PROBLEM" not in response
    nothing_has_changed(machine, before)

    reported = examine(machine, user="alice")
    assert reported["state"] != "problem", sentences(reported)
    assert "password" in sentences(reported, "not checkable") and "rules for sudo" in sentences(
        reported, "not checkable"
    )
    assert machine.execute("jupyterhub4family doctor --fix", user="alice").returncode == 4
