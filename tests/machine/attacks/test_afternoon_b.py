"""An afternoon of attacks by somebody who did not write the walls: bounds, what root reads, who can become root."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.machine.attacks.test_becoming_root import Way, login, start
from tests.machine.attacks.test_floods import PROGRAM, _login, _timed
from tests.machine.lib.family import PASSWORD, hub_pid, logged_in, ready, shared_machine
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

pytestmark = [pytest.mark.any_debian, pytest.mark.timeout(1500)]

SCRIPT = "printf '#!/bin/sh\\ntrue\\n'"
POLKIT = "/etc/polkit-1/rules.d/3.rules"


def polkit(action: str) -> Way:
    """A rule of polkit's that lets ben do this."""
    text = f'polkit.addRule(function(a, s) {{ if (a.id == "{action}" && s.user == "ben") return "yes"; }});'
    text = text.replace("a.id", "action.id").replace("function(a,", "function(action,")
    return Way(f"mkdir -p /etc/polkit-1/rules.d; echo '{text}' > {POLKIT}", f"rm {POLKIT}", POLKIT)


def first_line(file: str, line: str, reported: str) -> Way:
    """A line on top of a file of PAM's."""
    return Way(f"sed -i '1i {line}' {file}", f"sed -i 1d {file}", reported)


#: Ways of Debian's to be able to become root that are new to the product, or that it says it sees.
WAYS = {
    "a program that was moved, with its owner": Way(
        f"{SCRIPT} > /home/ben/tidy; chown ben: /home/ben/tidy; mv /home/ben/tidy /usr/local/bin/tidy",
        "rm /usr/local/bin/tidy",
        "/usr/local/bin/tidy",
    ),
    "a unit of root's that is the member's file": Way(
        "printf '[Service]\\nExecStart=/bin/true\\n' > /home/ben/bot.service; chown ben: /home/ben/bot.service;"
        " mv /home/ben/bot.service /etc/systemd/system/bot.service",
        "rm /etc/systemd/system/bot.service",
        "/etc/systemd/system/bot.service",
    ),
    "a job of root's in the member's home": Way(
        f"{SCRIPT} > /home/ben/copy.sh; chown ben: /home/ben/copy.sh;"
        " echo '5 4 * * * root /home/ben/copy.sh' > /etc/cron.d/copy",
        "rm /etc/cron.d/copy /home/ben/copy.sh",
        "/home/ben/copy.sh",
    ),
    "a service of root's in the member's home": Way(
        "printf '[Service]\\nExecStart=/usr/bin/python3 /home/ben/bot.py\\n' > /etc/systemd/system/bot.service",
        "rm /etc/systemd/system/bot.service",
        "/home/ben/bot.py",
    ),
    "root in a chroot (schroot)": Way(
        "mkdir -p /etc/schroot/chroot.d; printf '[old]\\ntype=plain\\ndirectory=/\\nroot-users=ben\\n'"
        " > /etc/schroot/chroot.d/old.conf",
        "rm /etc/schroot/chroot.d/old.conf",
        "/etc/schroot/chroot.d/old.conf",
    ),
    "a group at login (pam_group)": Way(
        "cp /etc/security/group.conf /root/group.conf; echo '*;*;ben;Al0000-2400;docker' >> /etc/security/group.conf",
        "cp /root/group.conf /etc/security/group.conf",
        "/etc/security/group.conf",
    ),
    "su for some": first_line(
        "/etc/pam.d/su", "auth sufficient pam_succeed_if.so use_uid user in anna:ben", "pam_succeed_if"
    ),
    "su for a number": first_line(
        "/etc/pam.d/su", "auth sufficient pam_succeed_if.so use_uid uid >= 1000", "succeed_if"
    ),
    "su for who calls": first_line("/etc/pam.d/su", "auth sufficient pam_succeed_if.so ruser = ben", "pam_succeed_if"),
    "su by another file": Way(
        "echo 'auth sufficient pam_wheel.so trust group=kin' > /etc/pam.d/trusted;"
        " sed -i '1i @include trusted' /etc/pam.d/su",
        "rm /etc/pam.d/trusted; sed -i 1d /etc/pam.d/su",
        "pam_wheel",
    ),
    "su by a list": Way(
        "echo ben > /etc/trusted; sed -i '1i auth sufficient pam_listfile.so item=ruser sense=allow file=/etc/trusted"
        " onerr=fail' /etc/pam.d/su",
        "rm /etc/trusted; sed -i 1d /etc/pam.d/su",
        "pam_listfile",
    ),
    "polkit: environment of all services": polkit("org.freedesktop.systemd1.set-environment"),
    "polkit: packages with apt": polkit("org.debian.apt.install-or-remove-packages"),
    "polkit: fstab": polkit("org.freedesktop.udisks2.modify-system-configuration"),
    "polkit: synaptic": polkit("com.ubuntu.pkexec.synaptic"),
    "the home of somebody whom a rule makes root": Way(
        "echo 'anna ALL=(ALL) ALL' > /etc/sudoers.d/zz-anna; chmod 440 /etc/sudoers.d/zz-anna; chgrp kin /home/anna;"
        " chmod 770 /home/anna",
        "rm /etc/sudoers.d/zz-anna; chown anna:anna /home/anna; chmod 700 /home/anna",
        "home of anna",
    ),
    "a file in an administrator's home": Way(
        "install -o papa -g kin -m 664 /dev/null /home/papa/.bashrc; chmod 755 /home/papa",
        "chown papa:papa /home/papa/.bashrc; chmod 644 /home/papa/.bashrc; chmod 700 /home/papa",
        "home of papa",
    ),
}


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "anna", "carol") as machine:
        machine.run("groupadd -g 4711 kin; groupadd docker; groupadd -r sbuild")
        machine.add_account("ben", PASSWORD, groups=("kin",))
        machine.add_account("papa", PASSWORD, groups=("sudo",))
        machine.run("chmod 700 /home/papa; jupyterhub4family members add ben")
        yield machine


#: As ben, for some of them: what he has of root then.
PROOFS = {
    "su for some": "su -c id root </dev/null",
    "su for a number": "su -c id root </dev/null",
    "su for who calls": "su -c id root </dev/null",
    "su by another file": "su -c id root </dev/null",
    "su by a list": "su -c id root </dev/null",
    "root in a chroot (schroot)": "schroot -c old -u root -d / -- id",
}


def test_other_ways_to_root_are_seen(machine: Machine) -> None:
    machine.run("apt-get -qq update; apt-get -qq -y install --no-install-recommends schroot", timeout=300, check=False)
    unseen = []
    for name, way in WAYS.items():
        machine.run(way.give)
        proof = machine.execute(PROOFS[name], user="ben") if name in PROOFS else None
        answer, refused = login(machine, "ben"), start(machine, "ben")
        print(name, "|", proof and (proof.stdout, proof.stderr[-200:]), "|", answer, refused[:300], flush=True)
        if answer.get("allowed") is not False or way.reported not in refused:
            unseen.append((name, answer, refused))
        machine.run(way.take)
    assert start(machine, "ben") == ""
    assert not unseen, "\n".join(map(str, unseen))


ADDRESSES = ",".join(f"127.0.{one // 250}.{one % 250 + 2}" for one in range(1500))


@pytest.mark.timed
@pytest.mark.in_turn(3)
def test_a_member_with_all_addresses_of_this_machine_keeps_nobody_out(machine: Machine) -> None:
    """Every account has sixteen million addresses: 127.0.0.0/8."""
    machine.put(PROGRAM, "/tmp/flood.py")
    times: dict[str, list[float | str]] = {}
    for name, sources in (("quiet", ""), ("one", "127.0.0.1"), ("many", ADDRESSES)):
        if sources:
            machine.run(
                f"(setsid runuser -u ben -- nice -n 10 /usr/bin/python3 /tmp/flood.py requests 127.0.0.1 8000 45 1500"
                f" {sources} >/tmp/flood.{name} 2>&1 </dev/null &)"
            )
            time.sleep(10)
        found: list[float | str] = []
        until = time.monotonic() + 30
        while time.monotonic() < until and len(found) < 4:
            try:
                found.append(_timed(lambda: _login(machine)))
            except Exception as error:  # a login that timed out
                found.append(repr(error)[:200])
        times[name] = found
        print(name, found, flush=True)
        if sources:
            machine.execute("sleep 15; pkill -u ben -f flood.py")
            print(machine.execute(f"cat /tmp/flood.{name}").stdout, flush=True)
    quiet = max(one for one in times["quiet"] if isinstance(one, float))
    late = [one for name in times for one in times[name] if isinstance(one, str) or one > max(3.0, 5 * quiet)]
    assert late == [], times


SUBORDINATE = r"""
import os, resource, socket, subprocess, sys, time
count = int(sys.argv[1])
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.unshare(0x10000000) if hasattr(os, "unshare") else __import__("ctypes").CDLL(None).unshare(0x10000000)
    os.write(ready[1], b"x"); os.read(go[0], 1)
    os.setgid(0)
    kept = []
    for uid in range(1, count + 1):
        if os.fork() == 0:
            os.setuid(uid)
            until = time.time() + 50
            while time.time() < until:
                mine = []
                for _ in range(64):
                    try:
                        one = socket.create_connection(("127.0.0.1", 8081), 5); mine.append(one)
                    except OSError: pass
                time.sleep(20)
            os._exit(0)
        time.sleep(0.02)
    time.sleep(50)
    os._exit(0)
os.read(ready[0], 1)
entry = [line.split(":") for line in open("/etc/subuid") if line.startswith("ben:")][0]
subprocess.check_call(["newuidmap", str(child), "0", str(os.getuid()), "1", "1", entry[1], str(count)])
gentry = [line.split(":") for line in open("/etc/subgid") if line.startswith("ben:")][0]
subprocess.check_call(["newgidmap", str(child), "0", str(os.getgid()), "1", "1", gentry[1], str(count)])
os.write(go[1], b"x")
os.waitpid(child, 0)
"""


@pytest.mark.timed
@pytest.mark.in_turn(3)
def test_a_member_with_numbers_of_a_container_keeps_nobody_out(machine: Machine) -> None:
    """Debian gives every account 65,536 more numbers (subuid(5)); each has its own share of the hub's port."""
    machine.run("apt-get -qq update; apt-get -qq -y install --no-install-recommends uidmap", timeout=300)
    machine.run("grep -q ^ben: /etc/subuid || usermod -v 300000-365535 -w 300000-365535 ben; cat /etc/subuid")
    machine.write("/tmp/many.py", SUBORDINATE)
    before = _timed(lambda: _login(machine))
    machine.run(
        "(setsid runuser -u ben -- nice -n 10 /usr/bin/python3 /tmp/many.py 300 >/tmp/many.log 2>&1 </dev/null &)"
    )
    seen = []
    for _time in range(12):
        time.sleep(3)
        files = machine.run(f"ls /proc/{hub_pid(machine)}/fd | wc -l").strip()
        try:
            took = f"{_timed(lambda: _login(machine)):.2f}"
        except Exception as error:
            took = repr(error)[:150]
        seen.append((files, took))
        print(seen[-1], flush=True)
    print(before, machine.execute("cat /tmp/many.log").stdout[-800:], flush=True)
    print(machine.execute("journalctl -q --no-pager -o cat -u jupyterhub4family-hub -n 5").stdout, flush=True)
    machine.execute("pkill -f many.py; sleep 1")  # also of the numbers that are not his
    assert max(int(files) for files, _took in seen) < 300, seen


DEEP = r"""
import os, sys
os.chdir("/home/ben")
for _ in range(19):
    os.mkdir("d" * 200); os.chdir("d" * 200)
for number in range(int(sys.argv[1])):
    os.close(os.open(f"{number:07}" + "f" * 240, os.O_CREAT | os.O_WRONLY))
"""


def _saved(machine: Machine) -> tuple[float, str]:
    began = time.monotonic()
    done = machine.execute("timeout -k 10 100 /usr/bin/time -f 'top %M kB' jupyterhub4family backup now", timeout=300)
    return time.monotonic() - began, f"{done.returncode} {done.stdout[-500:]} {done.stderr[-700:]}"


def test_a_member_keeps_nobody_from_being_backed_up(machine: Machine) -> None:
    """Files of which each is a long line of complaints; files of 100 terabytes without a byte on the disk."""
    machine.run("apt-get -qq update && apt-get -qq -y install --no-install-recommends restic time", timeout=300)
    machine.run("jupyterhub4family backup setup /srv/backup")
    seen = {"quiet": _saved(machine)}
    machine.write("/tmp/deep.py", DEEP)
    machine.run("runuser -u ben -- python3 /tmp/deep.py 65000", timeout=200)
    seen["deep"] = _saved(machine)
    machine.run("rm -rf /home/ben/d*", timeout=200)
    machine.run("runuser -u ben -- truncate -s 100T /home/ben/notes.bin; ls -lsh /home/ben/notes.bin")
    seen["sparse"] = _saved(machine)
    machine.run("rm /home/ben/notes.bin")
    for name, one in seen.items():
        print(name, one, flush=True)
    assert all(one[1].startswith("0 ") for one in seen.values()), seen


FROZEN = r"""
import json, os, subprocess, sys, time
own = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().splitlines()[-1].split(":", 2)[2]
door = f"{own}/door"
os.mkdir(door)
for _try in range(200):
    enter = f"echo $$ > {door}/cgroup.procs; exec sudo -n /usr/lib/jupyterhub4family/members"
    process = subprocess.Popen(["sh", "-c", enter], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    process.stdin.write(b'{"action": "add", "names": ["carol"]}\n'); process.stdin.close()
    time.sleep(0.15 + 0.01 * (_try % 30))
    open(f"{door}/cgroup.freeze", "w").write("1")
    time.sleep(0.1)
    locks = open("/proc/locks").read()
    pids = open(f"{door}/cgroup.procs").read().split()
    if any(f" {pid} " in locks for pid in pids):
        print("frozen with a lock", pids, flush=True)
        time.sleep(60)
        open(f"{door}/cgroup.freeze", "w").write("0")
        break
    open(f"{door}/cgroup.freeze", "w").write("0")
    process.wait()
else:
    print("never")
"""


def test_a_delegate_who_freezes_a_door_keeps_root_from_nothing(machine: Machine) -> None:
    """A login has a part of the control groups of its own (user@.service): what runs in it can be stopped there."""
    machine.run("gpasswd -a ben jupyterhub_adm; loginctl enable-linger ben; sleep 3")
    machine.write("/tmp/frozen.py", FROZEN)
    print(
        machine.execute("ls -la /sys/fs/cgroup | head -20; systemctl status user@$(id -u ben) | head -5").stdout,
        flush=True,
    )
    machine.run(
        "(setsid runuser -u ben -- env XDG_RUNTIME_DIR=/run/user/$(id -u ben) systemd-run --user -q --collect"
        " -p Delegate=yes --pipe --wait python3 /tmp/frozen.py >/tmp/frozen.log 2>&1 </dev/null &)"
    )
    machine.wait("test -s /tmp/frozen.log", timeout=150)
    print(machine.read("/tmp/frozen.log"), flush=True)
    done = machine.execute("timeout 30 jupyterhub4family members add anna; echo $?")
    print(done, flush=True)
    machine.execute("pkill -u ben -f frozen.py; loginctl disable-linger ben; gpasswd -d ben jupyterhub_adm")
    assert done.stdout.strip().endswith("0"), done


def _hub_megabytes(machine: Machine) -> float:
    return int(machine.run(f"awk '/^Pss:/ {{print $2}}' /proc/{hub_pid(machine)}/smaps_rollup")) / 1024


@pytest.mark.timed
@pytest.mark.in_turn(3)
def test_what_a_member_keeps_in_the_hub_is_bounded(machine: Machine) -> None:
    """A token has a note, which may be as long as a body; whoever lists tokens has all of them in the hub's memory."""
    with logged_in(machine, "ben") as ben:
        before, took = _hub_megabytes(machine), _timed(lambda: _login(machine))
        ask = "/hub/api/users/ben/tokens"
        for length, refused in ((1_000_000, 413), (10_000, 400)):
            statuses = [ben.fetch("POST", ask, {"note": "n" * length}).status for _number in range(10)]
            assert set(statuses) == {refused}
        statuses = [ben.fetch("POST", ask, {"note": "n" * 200}).status for _number in range(150)]
        assert set(statuses) == {201, 400} and statuses.count(201) <= 100
        size = machine.run("ls -s /var/lib/jupyterhub4family/state/*.sqlite")
        slow: list[float] = []
        other = threading.Thread(target=lambda: ben.http.get(ben._url("/hub/api/users/ben/tokens"), timeout=120))
        other.start()
        time.sleep(0.5)
        slow.append(_timed(lambda: _login(machine)))
        other.join()
        after = _hub_megabytes(machine)
        print("tokens", sorted(set(statuses)), size, before, after, took, slow, flush=True)
    assert after - before < 50, (before, after)


def test_a_line_of_the_hubs_log_has_an_end(machine: Machine) -> None:
    """Of an address of 60 kB at the hub's own port, and of 15 at the portal."""
    count = "journalctl -q --no-pager --all -o cat -u 'jupyterhub4family-*' | wc -c"
    before = int(machine.run(count))
    script = (
        "import http.client\n"
        "for _ in range(300):\n"
        "    c = http.client.HTTPConnection('127.0.0.1', 8081)\n"
        "    c.request('GET', '/hub/api/' + 'x' * 60000)\n"
        "    c.getresponse().read(); c.close()\n"
    )
    machine.run("python3 -", user="ben", input=script)
    time.sleep(2)
    grown = int(machine.run(count)) - before
    print("log", grown, flush=True)
    assert grown < 1_000_000


LINGERING = r"""
import os, socket, struct, sys
path = "/var/lib/jupyterhub4family/state/sockets/ports"
os.path.lexists(path) and os.unlink(path)
door = socket.socket(socket.AF_UNIX); door.bind(path); door.listen(8)
away = socket.create_server(("127.0.0.1", 0))
while True:
    asking = door.accept()[0]
    one = socket.create_connection(away.getsockname())
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30000))
    one.setblocking(False)
    try:
        while True: one.send(bytes(65536))
    except BlockingIOError: pass
    one.setblocking(True)
    socket.send_fds(asking, [b"[]"], [one.fileno()])
    one.close(); asking.close()
"""


@pytest.mark.with_cron
def test_what_the_service_hands_over_keeps_root_not_waiting(new_machine: NewMachine, suite: str) -> None:
    """A connection with data that nobody takes, whose last end waits for hours (SO_LINGER): root has it last."""
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    machine.expect_log("")
    machine.run("jupyterhub4family stop; pkill -u jupyterhub -f hold-ports; sleep 1", check=False)
    machine.write("/tmp/lingering.py", LINGERING)
    machine.run("(setsid runuser -u jupyterhub -- python3 /tmp/lingering.py >/tmp/l.log 2>&1 </dev/null &) ; sleep 1")
    began = time.monotonic()
    done = machine.execute("timeout -k 5 90 jupyterhub4family start", timeout=150)
    took = time.monotonic() - began
    print("start", took, done, machine.read("/tmp/l.log"), flush=True)
    machine.execute("pkill -u jupyterhub -f lingering.py")
    assert took < 60, done


def test_a_member_with_deep_directories_keeps_nobody_from_being_restored(machine: Machine) -> None:
    """Fifteen hundred, one in the other: more than Python goes down, and than root has files open."""
    machine.run("apt-get -qq update && apt-get -qq -y install --no-install-recommends restic time", timeout=300)
    machine.run("rm -rf /srv/deep; jupyterhub4family backup setup /srv/deep; echo hers > /home/carol/hers")
    deep = "import os\nos.chdir('/home/ben')\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')\n"
    machine.run("python3 -", user="ben", input=deep)
    print(_saved(machine), flush=True)
    machine.run("rm /home/carol/hers")
    done = machine.execute("jupyterhub4family backup restore --yes", timeout=400)
    print(done.returncode, done.stdout[-1500:], done.stderr[-1500:], flush=True)
    machine.run("ls -la /home /home/carol; rm -rf /home/ben/d")
    assert machine.exists("/home/carol/hers") and "Traceback" not in done.stderr, done
    assert not [one for one in machine.run("ls -A /home").split() if "restore" in one]
