"""What a member cannot do to root and to the service: the door `environment` raced, pids used again, crashes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.machine.lib.client import SpawnFailed
from tests.machine.lib.family import TEMPLATE, digest_of_template, logged_in, shared_machine
from tests.machine.lib.machine import Machine

DOOR = "/usr/lib/jupyterhub4family/environment"
MEDIATOR = "/usr/lib/jupyterhub4family/mediator"
STAGING = "/var/lib/jupyterhub4family/handover"
#: Opens the door again and again; meanwhile two others look for what root is about to hand over, and push links and
#: folders with others' things in them into it, rename what is there, and take its files away.
RACE = """
import itertools, json, os, shutil, subprocess, sys, time
handover, mine = sys.argv[1], str(os.getuid()) + "."
home = os.path.expanduser("~")
def push(to):
    os.rename(home + "/trap", to)
    time.sleep(0.002)
    os.rename(to, home + "/trap")
def attack(number):
    os.nice(19)  # leave the door its time
    tries = 0
    while not os.path.exists(home + "/stop"):
        for name in os.listdir(handover):
            place = handover + "/" + name
            if not name.startswith(mine): continue
            tries += 1
            for work in (
                lambda: push(place + "/env/trap"),
                lambda: push(place + "/env/lib/trap"),
                lambda: push(place + "/trap"),
                lambda: os.symlink("/etc", place + f"/env/etc{number}{tries}"),
                lambda: os.symlink("/root", place + f"/root{number}{tries}"),
                lambda: os.link(place + "/env/pyvenv.cfg", home + f"/taken{number}{tries}"),
                lambda: os.rename(place + "/env/bin", place + "/env/bin2"),
                lambda: (os.rename(place + "/env/share", place + "/gone"), os.symlink("/etc", place + "/env/share")),
                lambda: os.rename(place, handover + "/" + name + "x"),
                lambda: os.rmdir(place),
                lambda: os.symlink("/etc", handover + "/" + mine + "0"),
            ):
                tries += 1
                try: work()
                except OSError: pass
    open(home + f"/tries{number}", "w").write(str(tries))
children = []
for number in (1, 2):
    children.append(os.fork())
    if not children[-1]:
        attack(number)
        os._exit(0)
until, doors = time.monotonic() + 300, 0
while time.monotonic() < until and doors < 3:
    done = subprocess.run(["sudo", "-n", sys.argv[2]], input=b"{}", capture_output=True)
    assert b"Traceback" not in done.stderr, done
    json.loads(done.stdout)
    doors += 1
open(home + "/stop", "w").close()
for child in children: os.waitpid(child, 0)
tries = sum(int(open(home + f"/tries{number}").read()) for number in (1, 2))
print(json.dumps({"doors": doors, "tries": tries}))
"""
# Starts a program as a process with a certain pid, if its turn comes soon.
REUSE = """
import os, sys
for _ in range(200):
    child = os.fork()
    if child == 0:
        if os.getpid() != int(sys.argv[1]): os._exit(0)
        os.setsid()
        for number in (0, 1, 2): os.dup2(os.open(os.devnull, os.O_RDWR), number)
        os.execv(sys.argv[2], sys.argv[2:])
    if child == int(sys.argv[1]):
        print("got")
        break
    os.waitpid(child, 0)
"""


pytestmark = pytest.mark.any_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "alice", "bob") as machine:
        yield machine


def test_the_door_environment_is_raced(machine: Machine) -> None:
    """Ten thousand tries while root works. The folder's names are made known for this: else they cannot be guessed."""
    machine.write("/usr/local/share/race.py", RACE)
    # Things of alice's and of root's in a folder of bob's, which he may therefore move where he likes.
    machine.run(
        "cd /home/bob && mkdir -p trap/hers trap/roots && echo dear > trap/hers/diary && echo x > trap/roots/file"
        " && chown alice trap/hers trap/hers/diary && chmod 700 trap/hers trap/roots && chown bob trap"
    )
    listing = "find /etc /root /home/alice -printf '%p %m %u %g %s\\n' | sort"
    before, digest = machine.run(listing), digest_of_template(machine)
    machine.run(f"chmod 755 {STAGING}")
    try:
        output = machine.run(f"python3 -B /usr/local/share/race.py {STAGING} {DOOR}", user="bob")
    finally:
        machine.run(f"chmod 711 {STAGING}")
    raced = json.loads(output.splitlines()[-1])
    assert raced["doors"] == 3 and raced["tries"] >= 10_000, raced
    owners = machine.run(f"stat -c '%U %a' $(find /home/bob {STAGING} -name hers | head -1)")
    assert owners.split() == ["alice", "700"], "a folder of hers was given to bob"
    assert machine.run(f"stat -c %U $(find /home/bob {STAGING} -name roots | head -1)").strip() == "root"
    assert machine.run(listing) == before
    assert digest_of_template(machine) == digest
    strange = machine.run(
        f"find {STAGING} /home/bob -xdev -type f -user root ! -path '*/roots/*' ! -path '/home/bob/.*'"
    )
    assert strange.strip() == "", strange
    machine.run(f"rm -rf /home/bob/trap /home/bob/taken* {STAGING}/*")


def test_a_pid_that_is_used_again_gets_no_signal(machine: Machine) -> None:
    """The server that the hub remembers has ended, and something else of the member's has its pid."""

    def ask(request: dict[str, object]) -> dict[str, object]:
        done = machine.run(f"sudo -n -u alice {MEDIATOR}", user="jupyterhub", input=json.dumps(request))
        answer: dict[str, object] = json.loads(done.splitlines()[-1])
        assert answer["ok"] is True, answer
        return answer

    variables = {
        "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
        "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:1/user/alice/",
    }
    started = ask({"action": "spawn", "args": [], "env": variables})
    pid = started["pid"]
    machine.wait(f"! kill -9 {pid} 2>/dev/null && ! test -e /proc/{pid}")
    for marker in ("NOTHING=1", "JUPYTERHUB_SERVICE_PREFIX=/user/alice/"):
        reuse_pid(machine, int(str(pid)), "/usr/bin/env", marker, "sleep", "1000")
        machine.wait(f"test $(cat /proc/{pid}/comm) = sleep")
        for number in (15, 9, 2):
            kill = {"action": "kill", "pid": pid, "signal": number, "start_time": started["start_time"]}
            assert ask(kill)["alive"] is False
        machine.run(f"test $(cat /proc/{pid}/comm) = sleep")
        machine.run(f"kill -9 {pid}")
        machine.wait(f"! test -e /proc/{pid}")


def reuse_pid(machine: Machine, pid: int, *args: str) -> None:
    """Start a process of alice's that gets this very pid."""
    machine.write("/usr/local/share/reuse.py", REUSE)
    for _ in range(50):
        # Pids are given in turn; some go to what starts meanwhile.
        turn = f"echo {pid - 40} > /proc/sys/kernel/ns_last_pid"
        subprocess.run(["nsenter", "-t", str(machine.pid), "--pid", "sh", "-c", turn], check=True)
        if "got" in machine.run(f"python3 /usr/local/share/reuse.py {pid} {' '.join(args)}", user="alice"):
            return
    raise AssertionError(f"pid {pid} was never given again")


def test_what_a_server_says_is_shown_as_text(machine: Machine) -> None:
    """The end of a server's log stands on a page that delegates see as well."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    program = ".local/share/jupyterhub4family/env/bin/jupyterhub-singleuser"
    machine.run(
        f"cp ~/{program} ~/kept; rm ~/{program}; printf 'print(\"{evil}\"); raise SystemExit(3)' > ~/{program}",
        user="bob",
    )
    with logged_in(machine, "bob") as bob:
        with pytest.raises(SpawnFailed):
            bob.start_server()
        page = bob.get("/hub/spawn/bob")
        assert evil not in page.text and "<script>alert" not in page.text
        assert "onerror=alert" not in page.text.replace("&lt;img src=x onerror=alert", "")
    machine.run(f"cat ~/kept > ~/{program}", user="bob")


def test_the_template_cannot_be_reached_by_another_way(machine: Machine) -> None:
    """Through the hard links in the own home: opened again, mapped, by /proc, by a debugger's write, by a new name."""
    before = digest_of_template(machine)
    machine.run(
        r"""
cd ~/.local/share/jupyterhub4family/env && cat > ~/write.py <<'END'
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
for path in sys.argv[1:]:
    for work in (
        lambda: os.write(os.open(path, os.O_WRONLY), b"x"),
        lambda: os.write(os.open(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", os.O_RDWR), b"x"),
        lambda: os.truncate(path, 0),
        lambda: os.chmod(path, 0o666),
        lambda: os.setxattr(path, b"user.x", b"x"),
        lambda: mmap.mmap(os.open(path, os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_WRITE).write(b"x"),
        lambda: os.utime(path, (0, 0)),
        lambda: os.link(path, os.path.expanduser("~/other")) or os.truncate(os.path.expanduser("~/other"), 0),
    ):
        try: work()
        except (OSError, ValueError): continue
        print("wrote", path, work.__code__.co_firstlineno)
END
python3 ~/write.py pyvenv.cfg bin/jupyter bin/activate > ~/wrote; cat ~/wrote >&2; ! test -s ~/wrote""",
        user="alice",
    )
    assert digest_of_template(machine) == before
    assert machine.run(f"find {TEMPLATE}/ ! -user jupyterhub").strip() == ""
