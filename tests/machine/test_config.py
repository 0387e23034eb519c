"""Settings on a real machine: changed while it runs, bad without harm, experts' files with errors, completion."""

from __future__ import annotations

import json

import pytest

from tests.machine.lib.family import add_member, browser, health, hub_pid, logged_in, proxy_pid, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

FILE = "/etc/jupyterhub4family/config.yaml"
EXPERTS = "/etc/jupyterhub4family/jupyterhub_config.d"
LAST_GOOD = "/var/lib/jupyterhub4family/public/settings.last-good.json"


def set_(machine: Machine, args: str) -> str:
    return machine.run(f"jupyterhub4family config set {args}")


def portal_answers(machine: Machine, port: int) -> bool:
    return machine.execute(health(port)).returncode == 0


def wait_for_portal(machine: Machine, port: int) -> None:
    machine.wait(health(port), timeout=90)


@pytest.mark.any_debian
def test_settings_are_changed_while_it_runs(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    machine.add_account("anna", "x")

    refused = machine.execute("jupyterhub4family config set port 8010", user="anna")
    assert refused.returncode == 4 and "Try: sudo jupyterhub4family config set port 8010" in refused.stderr
    assert machine.execute("jupyterhub4family config set prot 8010").stderr.splitlines() == [
        "jupyterhub4family: unknown key 'prot'",
        "Try: the nearest known key is 'port'",
    ]
    assert not machine.exists(FILE)

    proxy, hub = proxy_pid(machine), hub_pid(machine)
    reported = set_(machine, "family_name The Millers")
    assert "restarting" in reported
    machine.wait(f"! test -e /proc/{hub}", timeout=60)
    wait_for_portal(machine, 8000)
    assert proxy_pid(machine) == proxy, "open notebooks stay connected"
    assert machine.run("stat -c '%a %U' /etc/jupyterhub4family " + FILE).split() == ["755", "root", "644", "root"]

    set_(machine, "port 8010")
    wait_for_portal(machine, 8010)
    assert not portal_answers(machine, 8000)
    shown = machine.run("jupyterhub4family config show --origin", user="anna")
    assert f"# {FILE}:" in shown and "port: 8010" in shown and "family_name: The Millers" in shown
    assert json.loads(machine.run(f"cat {LAST_GOOD}", user="anna"))["port"] == 8010

    before = machine.read(FILE)
    assert "Nothing to change" in set_(machine, "port 8010")
    machine.run("""sed -i '1a # ours: do not touch' /etc/jupyterhub4family/config.yaml""")
    machine.run("jupyterhub4family config unset port")
    wait_for_portal(machine, 8000)
    after = machine.read(FILE)
    assert "# ours: do not touch" in after and "port" not in after.replace("port: 8010", "") and "port: 8010" in before
    assert json.loads(machine.run("jupyterhub4family config get port --json")) == 8000


@pytest.mark.any_init
def test_a_bad_file_stops_nothing(new_machine: NewMachine, suite: str, init: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init=init))
    set_(machine, "port 8010")
    wait_for_portal(machine, 8010)
    machine.run(f"sed -i 's/^port: 8010/port: 8011\\nlisten: everywhere/' {FILE}")

    for happens in ("restart", "restart --all", "reboot"):
        if happens == "reboot":
            machine.reboot()
        else:
            machine.run(f"jupyterhub4family {happens}")
        wait_for_portal(machine, 8010)
        assert not portal_answers(machine, 8011)
    output = machine.execute("jupyterhub4family config show")
    assert output.returncode == 8 and f"{FILE}:3: listen must be one of lan, local" in output.stderr, output
    assert "port: 8010" in output.stdout
    status = machine.execute("jupyterhub4family status")
    assert f"{FILE}:3: listen must be" in status.stdout + status.stderr
    log = machine.run("jupyterhub4family logs hub -n 500")
    assert f"hub: {FILE}:3: listen must be" in log and "last good settings stay in use" in log

    # What root's programs decide by stays good, too: an upgrade of the package goes through.
    machine.run("/usr/lib/jupyterhub4family/setup configure")
    refused = machine.execute("jupyterhub4family config set family_name Us")
    assert refused.returncode == 8 and "listen must be" in refused.stderr
    machine.run("jupyterhub4family config unset listen")
    wait_for_portal(machine, 8011)
    assert machine.run("jupyterhub4family config get port") == "8011\n"


@pytest.mark.any_debian
def test_an_experts_file_with_an_error_is_left_out(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run(f"install -d {EXPERTS}")
    machine.write(
        f"{EXPERTS}/10-bad.py", "c.JupyterHub.active_server_limit = 0\nc.JupyterHub.nonsense = 1\nnonsense()\n"
    )
    machine.write(
        f"{EXPERTS}/20-good.py",
        "c.Spawner.environment = {'FROM_EXPERT': 'yes'}\nc.FamilySpawner.default_url = '/tree'\n",
    )
    hub = hub_pid(machine)
    machine.run("jupyterhub4family restart")
    machine.wait(f"! test -e /proc/{hub}", timeout=60)
    wait_for_portal(machine, 8000)
    log = machine.run("jupyterhub4family logs hub -n 500")
    assert (
        f"hub: {EXPERTS}/10-bad.py:3: NameError: name 'nonsense' is not defined. The hub runs without this file." in log
    )
    noted = json.loads(machine.read("/var/lib/jupyterhub4family/public/expert-files.skipped.json"))
    assert noted == [{"name": "10-bad.py", "line": 3, "problem": "NameError"}]
    with logged_in(machine, "alice") as alice:
        assert alice.start_server()
    machine.run(f"rm {EXPERTS}/10-bad.py; jupyterhub4family restart")
    machine.wait("test \"$(cat /var/lib/jupyterhub4family/public/expert-files.skipped.json)\" = '[]'")
    wait_for_portal(machine, 8000)
    with browser(machine) as window:
        assert window.status("/hub/login") == 200


@pytest.mark.any_debian("bookworm", "trixie")  # Debian 11's fish offers whatever holds the letters anywhere
def test_shells_complete_and_the_manual_is_shown(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "anna")
    machine.run(
        "apt-get -qy update; apt-get -qy install --no-install-recommends bash-completion zsh fish man-db", timeout=600
    )
    for args, offered in (
        ("jupyterhub4family config set li", "listen"),
        ("jh4f config set listen lo", "local"),
        ("jh4f members remove a", "anna"),
        ("jh4f sta", "start status"),
        ("jh4f restart --a", "--all"),
    ):
        fish = machine.run(f"fish -c 'complete -C \"{args}\"'")
        assert sorted(line.split("\t")[0] for line in fish.splitlines()) == offered.split(), args
        # As bash-completion does it: the file is found by the command's name when the tabulator is first pressed.
        name = args.split()[0]
        bash = machine.run(
            "bash -c '. /usr/share/bash-completion/bash_completion; "
            f"_comp_load {name} 2>/dev/null || _completion_loader {name}; COMP_WORDS=({args}); "
            'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _jupyterhub4family; printf "%s\\n" "${COMPREPLY[@]}"\''
        )
        assert sorted(bash.split()) == offered.split(), args
        # Outside of the line editor there is nothing to add candidates to, so they are printed.
        zsh = machine.run(
            "zsh -f -c 'compadd() { print -l -- ${(P)2} }; _describe() { print -l -- ${${(P)argv[-1]}%%:*} }; "
            f"words=({args}); CURRENT=$#words; . /usr/share/zsh/vendor-completions/_jupyterhub4family'"
        )
        assert sorted(one for one in zsh.split() if one.startswith(args.split()[-1])) == sorted(offered.split()), args
    machine.run("zsh -n /usr/share/zsh/vendor-completions/_jupyterhub4family")
    for page in ("jupyterhub4family", "jh4f", "jupyterhub-members", "jupyterhub4family-config"):
        assert "jupyterhub4family" in machine.run(f"man {page}")
