"""Who keeps hub and proxy running: systemd, or the account's crontab with screen."""

from __future__ import annotations

import json
import time

import pytest

from tests.machine.lib.family import CURL, HEALTHY, add_member, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

#: Commands that succeed when hub or proxy run, with another pid.
RUNS_AGAIN = {
    "hub": "pgrep -u jupyterhub -f 'bin/jupyterhub -f' | grep -qvx {pid}",
    "proxy": "pgrep -u jupyterhub -f proxy/launch.js | grep -qvx {pid}",
}
PIDS = {"hub": hub_pid, "proxy": proxy_pid}
#: Seconds: cron comes once a minute.
CRON_TIMEOUT = 75


def cron_looks(machine: Machine) -> None:
    """Wait until cron has come: whoever has an entry for each minute was asked at that moment."""
    machine.run("echo '* * * * * touch /root/cron-was-here' | crontab -")
    machine.wait("test -e /root/cron-was-here", timeout=CRON_TIMEOUT)
    machine.run("crontab -r")


def _status(machine: Machine) -> dict[str, object]:
    status: dict[str, object] = json.loads(machine.execute("jupyterhub4family status --json").stdout)
    return status


@pytest.mark.every_init
def test_the_portal_is_back_after_a_reboot(new_machine: NewMachine, suite: str, init: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init=init))
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        machine.reboot()
        machine.wait(HEALTHY, timeout=CRON_TIMEOUT)
        assert _status(machine)["supervisor"] == ("systemd" if init == "systemd" else "cron")
        # The login has survived, the server has not: the hub knows, and starts it again.
        until = time.monotonic() + 30
        while "" in alice.servers() and time.monotonic() < until:
            time.sleep(0.5)
        alice.start_server()
        assert alice.kernel().execute("1+1") == "2"


@pytest.mark.any_debian
def test_systemd_brings_back_what_dies(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    for victim in PIDS:
        _killed_and_back(machine, victim)


def _killed_and_back(machine: Machine, victim: str) -> None:
    """The process is back within five seconds; how soon it answers depends on what else this machine does."""
    pid = PIDS[victim](machine)
    machine.run(f"kill -9 {pid}")
    took = machine.wait(RUNS_AGAIN[victim].format(pid=pid), timeout=30)
    assert took < 5, (victim, took)
    machine.wait(HEALTHY, timeout=30)


@pytest.mark.with_cron
def test_screen_brings_back_what_dies(new_machine: NewMachine, suite: str) -> None:
    """Hub or proxy dead: at once. The whole screen session dead: with cron's next minute."""
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    for victim in PIDS:
        _killed_and_back(machine, victim)
    # Without its screen the proxy is away until cron comes; a hub that asks it something just then says so.
    machine.expect_log("Repeated api_request to proxy path")
    # A hub that is ended in its first second may leave a program that it has just asked something (asyncio says so).
    machine.expect_log("Event loop is closed")
    for victim, pid_of in PIDS.items():
        pid = pid_of(machine)
        machine.run(f"pkill -9 -u jupyterhub -f -- '[S]CREEN -dmS {victim}'")
        machine.wait(f"! kill -0 {pid} 2>/dev/null && {HEALTHY}", timeout=CRON_TIMEOUT)
        sessions = machine.run("screen -ls || true", user="jupyterhub")
        assert sessions.count(f".{victim}") == 1 and "Dead" not in sessions, sessions


@pytest.mark.with_cron
def test_screen_shows_the_live_log(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    machine.run(f"{CURL} https://127.0.0.1:8000/hub/login-of-this-test >/dev/null")
    # What `sudo -iu jupyterhub` and `screen -r hub` show, attached in a terminal of its own.
    attach = "TERM=xterm script -qec 'screen -r hub' /dev/null >/tmp/shown 2>&1"
    shown = machine.run(f"{attach} & sleep 2; screen -S hub -X detach; wait; cat /tmp/shown", user="jupyterhub")
    assert "login-of-this-test" in shown
    assert "login-of-this-test" in machine.run("jupyterhub4family logs hub")
    assert "JupyterHub is now running" in machine.run("jupyterhub4family logs hub -n 2000")
    assert "Listening at https:" in machine.run("jupyterhub4family logs proxy -n 2000")


@pytest.mark.every_init
def test_start_stop_restart(new_machine: NewMachine, init: str, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init=init))
    add_member(machine, "alice")
    assert machine.execute("jupyterhub4family stop", user="alice").returncode == 4
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        kernel = alice.kernel()
        kernel.execute("x = 1")
        machine.run("jupyterhub4family stop")
        assert machine.execute(HEALTHY).returncode != 0
        status = machine.execute("jupyterhub4family status")
        assert status.returncode == 6 and "start" in status.stdout, status
        # Stopped stays stopped, also where cron looks every minute.
        if init == "sysvinit":
            cron_looks(machine)
        time.sleep(3)
        assert machine.execute(HEALTHY).returncode != 0
        machine.run("jupyterhub4family start")
        machine.run("jupyterhub4family start")
        machine.wait(HEALTHY, timeout=30)
        kernel.reconnect()
        assert kernel.execute("x") == "1"
        machine.run("jupyterhub4family restart --all")
        machine.wait(HEALTHY, timeout=30)
        assert len(machine.run("pgrep -u jupyterhub -f 'bin/jupyterhub -f'").split()) == 1
        assert len(machine.run("pgrep -u jupyterhub -f proxy/launch.js").split()) == 1
        machine.run("jupyterhub4family stop --servers")
        assert machine.run("ps -u alice -o args --no-headers", check=False).strip() == ""


@pytest.mark.any_debian
def test_cron_can_be_chosen_where_systemd_runs(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.write("/etc/jupyterhub4family/config.yaml", "supervisor: cron\n")
    machine.run("jupyterhub4family start")
    machine.wait(HEALTHY, timeout=30)
    status = _status(machine)
    assert status["supervisor"] == "cron"
    assert "ensure" in machine.run("crontab -u jupyterhub -l")
    assert "jupyterhub4family-hub" not in machine.run("systemctl list-units --state=active --plain --no-legend")
    machine.reboot()
    machine.wait(HEALTHY, timeout=CRON_TIMEOUT)
    assert ".hub" in machine.run("screen -ls || true", user="jupyterhub")
    machine.write("/etc/jupyterhub4family/config.yaml", "supervisor: systemd\n")
    machine.run("jupyterhub4family start")
    machine.wait(HEALTHY, timeout=30)
    assert machine.execute("crontab -u jupyterhub -l").returncode != 0
    assert "jupyterhub4family-hub" in machine.run("systemctl list-units --state=active --plain --no-legend")


@pytest.mark.any_debian
def test_settings_are_used_and_mistakes_are_told(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.write("/etc/jupyterhub4family/config.yaml", "port: 8010\nlisten: local\n")
    machine.run("jupyterhub4family restart --all")
    machine.wait(f"{CURL} -f -o /dev/null https://127.0.0.1:8010/hub/health", timeout=30)
    assert machine.run("ss -ltnH 'sport = :8010' | awk '{print $4}'").split() == ["127.0.0.1:8010"]
    machine.write("/etc/jupyterhub4family/config.yaml", "prot: 8010\n")
    done = machine.execute("jupyterhub4family status")
    assert done.returncode == 8 and "'port'" in done.stderr and "Traceback" not in done.stderr
    machine.run("mkdir -p /etc/jupyterhub4family/jupyterhub_config.d; rm /etc/jupyterhub4family/config.yaml")
    machine.write(
        "/etc/jupyterhub4family/jupyterhub_config.d/50-limit.py", "c.JupyterHub.named_server_limit_per_user = 1\n"
    )
    machine.run("jupyterhub4family restart --all")
    machine.wait(HEALTHY, timeout=30)
