"""What helpers and visitors see of a machine: the support archive without secrets, the greeting, status."""

from __future__ import annotations

import json
import re

import pytest

from tests.machine.lib.family import PASSWORD, STATE, add_member, logged_in, ready
from tests.machine.lib.plugin import NewMachine

#: Planted where secrets are, and where they should not be.
PLANTED = "Planted5ecret"


@pytest.mark.any_debian
def test_the_support_archive_holds_no_secrets(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice", "bertram")
    machine.run("useradd -m carla")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        alice.get("/hub/api/user?token=" + PLANTED + "1")
        alice.get("/user/alice/lab/tree/SecretDiary.ipynb")
        cookies = [cookie.value or "" for cookie in alice.cookies.jar]
    machine.write(
        "/etc/jupyterhub4family/config.yaml",
        f"family_name: {PLANTED}2\nlogin_help: the password is {PLANTED}3\n",
    )
    machine.write(
        "/etc/jupyterhub4family/jupyterhub_config.d/50-mine.py",
        f"import os\nos.environ['OAUTH_CLIENT_SECRET'] = '{PLANTED}4'\nmy_password = 'two words {PLANTED}5'\n",
    )
    for number, line in enumerate(
        (
            f"Authorization: token {PLANTED}6",
            f"Cookie: jupyterhub-session-id={PLANTED}7",
            f"password={PLANTED}8 for bertram",
            "-----BEGIN PRIVATE KEY-----\\nUGxhbnRlZDVlY3JldDk=\\n-----END PRIVATE KEY-----",
            f"302 GET /user/bertram/lab/tree/{PLANTED}10.ipynb",
            "Login of carla from fe80::77 refused: carla is no member",
            'Login of "TypedIntoTheWrongField" from 192.168.77.7 refused: refused',
        )
    ):
        machine.run(f"printf %b '{line}\\n' | systemd-cat -t probe{number} || true")
        machine.run(
            f"mkdir -p {STATE}/log && printf %b '{line}\\n' >> {STATE}/log/hub.log && chown -R jupyterhub {STATE}/log"
        )
    # Every secret there is, as it lies on the disk.
    files = machine.run(f"cat {STATE}/*token* {STATE}/cookie_secret; getent shadow; cat {STATE}/tls/*.key")
    secrets = {word for word in re.findall(r"[A-Za-z0-9+/$.=]{20,}", files) if not word.startswith("---")}
    assert len(secrets) > 6

    machine.run("rm -rf /root/help && mkdir /root/help && cd /root/help && jupyterhub4family support")
    (name,) = machine.run("ls /root/help").split()
    assert machine.run(f"stat -c '%a %U' /root/help/{name}").split() == ["600", "root"]
    machine.run(f"tar -xzf /root/help/{name} -C /root/help")
    everything = machine.run("find /root/help -type f -not -name '*.tar.gz' -exec cat {} +")
    assert len(everything) > 20_000 and "JupyterHub is now running" in everything
    assert "member1" in everything and "tornado" in everything
    for secret in (*secrets, *(value for value in cookies if len(value) > 8), PASSWORD, "UGxhbnRlZDVlY3JldDk"):
        assert secret not in everything, secret
    assert PLANTED not in everything, re.findall(f".*{PLANTED}.*", everything)
    for private in ("alice", "bertram", "SecretDiary", "carla", "TypedIntoTheWrongField", machine.ip, "fe80::77"):
        assert private not in everything, re.findall(f".*{private}.*", everything)

    addresses = re.findall(r"(?<![\w.+~-])(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}(?![\w+~-]|\.\d)", everything)
    assert not addresses and "@device" in everything, addresses

    done = machine.execute("cd && jupyterhub4family support && ls -l", user="bertram")
    assert done.returncode == 0 and "-rw-------" in done.stdout, done


@pytest.mark.any_debian
def test_greeting_and_status(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    output = machine.run("run-parts /etc/update-motd.d")
    assert f"JupyterHub for the family: https://{machine.ip}:8000/" in output and "members add" in output, output
    # agetty wants a terminal, so what it would print is shown in one.
    show = "script -qec 'agetty --show-issue' /dev/null"
    shown = machine.run(show)
    assert "familybox" in shown and machine.ip in shown and "jupyterhub4family status" in shown, shown
    # Everybody who logs in waits for it. The best of many, for other machines run beside this one.
    each = "for i in 1 2 3 4 5 6 7 8; do time /etc/update-motd.d/60-jupyterhub4family >/dev/null; done"
    took = sorted(map(float, machine.run(f"bash -c 'TIMEFORMAT=%R; {each}' 2>&1").split()))
    assert took[0] < 0.1, took

    now = json.loads(machine.run("jupyterhub4family status --json"))
    assert now["portal"] == "running" and now["members"] == 0 and "members add" in now["next"]
    assert now["trust"] == f"http://{machine.ip}:8000/trust"
    assert re.fullmatch(r"[0-9A-F]{2}(:[0-9A-F]{2}){31}", now["fingerprint"]), now
    output = machine.run("jupyterhub4family status --qr")
    assert f"https://{machine.ip}:8000/" in output and now["fingerprint"][:47] in output and "█" in output, output
    add_member(machine, "alice")
    assert json.loads(machine.run("jupyterhub4family status --json", check=False))["next"] == ""
    assert machine.run("jupyterhub4family open", user="alice").strip() == f"https://{machine.ip}:8000/"
    machine.run("dpkg --remove jupyterhub4family >/dev/null 2>&1")
    assert "JupyterHub" not in machine.run(f"run-parts /etc/update-motd.d; {show}")
