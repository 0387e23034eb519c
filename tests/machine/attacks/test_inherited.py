"""What a door inherits: limits, signals, timers, umask, nice, descriptors, folder. None of it may spoil root's work.

Each door is opened under each of these, by whoever may open it. Either it does its work, or it refuses; in both cases
the databases of accounts are whole, no lock is left, and the portal answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.machine.lib.family import HEALTHY, PASSWORD, shared_machine
from tests.machine.lib.machine import Machine

LIBRARY = "/usr/lib/jupyterhub4family"
STAGING = "/var/lib/jupyterhub4family/handover"
#: Sets up what its first argument says, then becomes sudo with the other words. With nothing of ours.
CALLER = """
import json, os, resource, signal, sys
given = json.loads(sys.argv[1])
if given.get("lost"):
    os.mkdir("/tmp/lost%d" % os.getpid()); os.chdir("/tmp/lost%d" % os.getpid()); os.rmdir("/tmp/lost%d" % os.getpid())
os.umask(given.get("umask", 0o022))
for number in given.get("ignored", []): signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, given.get("blocked", []))
if given.get("nice"): os.nice(given["nice"])
if given.get("slack"): open("/proc/self/timerslack_ns", "w").write(str(given["slack"]))
if given.get("one"): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
if given.get("idle"): os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
if given.get("adj"): open("/proc/self/oom_score_adj", "w").write(str(given["adj"]))
for descriptor in given.get("inherited", []):
    os.dup2(os.open("/etc/passwd", os.O_RDONLY), descriptor); os.set_inheritable(descriptor, True)
for kind, seconds in given.get("timers", {}).items(): signal.setitimer(int(kind), seconds)
for descriptor in given.get("closed", []): os.close(descriptor)
for name, value in given.get("limits", {}).items():
    kind = getattr(resource, "RLIMIT_" + name)
    try: resource.setrlimit(kind, (value, value))
    except ValueError: resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
for name, value in given.get("soft", {}).items():
    kind = getattr(resource, "RLIMIT_" + name)
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))
os.execv("/usr/bin/sudo", ["sudo", "-n", *sys.argv[2:]])
"""
#: The databases of accounts and all that belongs to them: whole, with the same modes, without locks or leftovers.
WHOLE = r"""
set -e
cd /etc
for file in passwd group shadow gshadow; do
    test ! -e $file.lock && test ! -e $file+
    test -s $file && test -z "$(tail -c 1 $file)"
    test ! -e $file- || { test -z "$(tail -c 1 $file-)" && test $(wc -l <$file-) -ge $(($(wc -l <$file) - 1)); }
    stat -c '%n %a %U:%G' $file
done
test -z "$(find /etc -maxdepth 1 -regex '.*/\(passwd\|group\|shadow\|gshadow\)\.[0-9]+')"
pwck -r -q >/dev/null 2>&1 || true
grpck -r >&2
stat -c '%n %a %U:%G' /etc/group- /etc/gshadow- 2>/dev/null || true
"""
#: Opens the door at a terminal of its own, and has the terminal send signals: Ctrl-C, Ctrl-\\, Ctrl-Z, and its end.
TERMINAL = r"""
import os, pty, sys, time
child, master = pty.fork()
if not child:
    os.dup2(os.open("/run/request", os.O_RDONLY), 0)
    os.execv("/usr/bin/sudo", ["sudo", "-n", *sys.argv[3:]])
time.sleep(float(sys.argv[1]))
for key in (b"\x1a", b"\x1c", b"\x03")[int(sys.argv[2]) :]:
    os.write(master, key)
time.sleep(0.2)
os.close(master)
"""
EVERY_SIGNAL = [number for number in range(1, 32) if number not in (9, 19)]


#: Where machines are containers themselves, root may lift no hard limit, and a door refuses.
CAN_LIFT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
"""


@dataclass(frozen=True)
class Case:
    """What a caller has set up.

    `hard`: a limit that only a root with all its rights can lift, else the door has to refuse. `may_refuse`: sudo or
    Python cannot even start, or there is nobody to read a request of, or an answer for.
    """

    name: str
    circumstances: dict[str, Any] = field(default_factory=dict)
    may_refuse: bool = False
    hard: bool = False


CASES = [
    Case("plain"),
    Case("file size", {"limits": {"FSIZE": 512}}, hard=True),
    Case("file size nothing", {"limits": {"FSIZE": 0}}, hard=True),
    Case("soft file size", {"soft": {"FSIZE": 512}}),
    *(Case(f"{count} files", {"limits": {"NOFILE": count}}, may_refuse=True) for count in (3, 4, 5, 8, 10)),
    Case("soft 10 files", {"soft": {"NOFILE": 10}}, may_refuse=True),
    Case("processor", {"limits": {"CPU": 1}}, hard=True),
    Case("soft processor", {"soft": {"CPU": 1}}),
    *(Case(f"memory {size}", {"limits": {"AS": size << 20}}, may_refuse=True) for size in (16, 24, 40)),
    Case("data", {"limits": {"DATA": 6 << 20}}, may_refuse=True),
    Case("stack", {"limits": {"STACK": 64 << 10}}, may_refuse=True),
    Case("processes", {"limits": {"NPROC": 1}}, may_refuse=True),
    Case("locked memory, queues, signals", {"limits": {"MEMLOCK": 0, "MSGQUEUE": 0, "SIGPENDING": 0}}),
    Case("ignored signals", {"ignored": EVERY_SIGNAL}),
    Case("blocked signals", {"blocked": EVERY_SIGNAL}),
    Case("alarm", {"timers": {"0": 0.08}}, may_refuse=True),
    Case("timers", {"timers": {"0": 0.2, "1": 0.02, "2": 0.02}}, may_refuse=True),
    Case("nice", {"nice": 19, "idle": True, "adj": 1000}),
    # Thirty years: whatever sleeps in a door wakes up then.
    Case("late timers, one processor", {"slack": 10**18, "one": True}),
    Case("umask", {"umask": 0o777}),
    Case("umask open", {"umask": 0}),
    Case("lost folder", {"lost": True}),
    Case("inherited descriptors", {"inherited": [3, 4, 7, 100]}),
    *(Case(f"closed {closed}", {"closed": closed}, may_refuse=True) for closed in ([0], [1], [2], [0, 1, 2])),
]

pytestmark = pytest.mark.every_debian


@pytest.fixture(scope="module")
def machine(suite: str) -> Iterator[Machine]:
    with shared_machine(suite, "bob") as machine:
        machine.add_account("alice", PASSWORD)
        machine.add_account("mum", PASSWORD, groups=("jupyterhub_adm",))
        machine.write("/usr/local/share/caller.py", CALLER)
        yield machine


def may_refuse(machine: Machine, case: Case) -> bool:
    return case.may_refuse or (case.hard and machine.execute(f"python3 -c '{CAN_LIFT}'").returncode != 0)


def open_door(machine: Machine, case: Case, user: str, words: str, request: dict[str, Any]) -> dict[str, Any]:
    """Open a door under these circumstances; its answer, or an empty one. What it says may not be a traceback."""
    circumstances = json.dumps(case.circumstances)
    command = f"/usr/bin/python3 -I -B /usr/local/share/caller.py '{circumstances}' {words}"
    # With the request in a file: a closed stdin is then the caller's doing alone.
    machine.write("/run/request", json.dumps(request))
    done = machine.execute(f"exec {command} </run/request", user=user, timeout=60)
    assert "Traceback" not in done.stderr or case.may_refuse, (case.name, done)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        assert case.may_refuse, (case.name, words, done)
        return {}
    if not answer["ok"]:
        assert may_refuse(machine, case) or words.endswith("confine"), (case.name, words, done)
        assert answer["error"] and done.returncode == (0 if words.endswith("mediator") else answer["status"]), done
    return answer


def assert_whole(machine: Machine, case: Case, before: str) -> None:
    done = machine.execute(WHOLE)
    assert done.returncode == 0 and done.stdout == before, (case.name, done, before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_delegates_circumstances_do_not_spoil_roots_work(machine: Machine, case: Case) -> None:
    """Members are added and removed, or not, and nothing in between."""
    door = f"{LIBRARY}/members"
    # So that there are backups of the databases, with the modes that they have.
    machine.run("gpasswd -a alice jupyterhub >/dev/null && gpasswd -d alice jupyterhub >/dev/null")
    before = machine.run(WHOLE)
    for action, there in (("add", True), ("remove", False)):
        answer = open_door(machine, case, "mum", door, {"action": action, "names": ["alice"]})
        machine.wait("! pgrep -f '[l]ib/jupyterhub4family/members'", timeout=60)
        assert_whole(machine, case, before)
        now = "jupyterhub" in machine.run("id -nG alice").split()
        assert now is there or (not answer.get("ok") and may_refuse(machine, case)), (case.name, action, answer)
        machine.run(f"gpasswd -{'a' if there else 'd'} alice jupyterhub >/dev/null 2>&1 || true")
    machine.run("usermod -G '' alice")
    machine.run(HEALTHY)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_members_and_the_hubs_circumstances_neither(machine: Machine, case: Case) -> None:
    before = machine.run(WHOLE)
    given = open_door(machine, case, "bob", f"{LIBRARY}/environment", {})
    machine.wait("! pgrep -f '[l]ib/jupyterhub4family/environment'", timeout=60)
    if given.get("ok"):
        whole = machine.run(f"find {given['place']} -printf '%P %m %U\\n' | LC_ALL=C sort | sha1sum")
        plain = open_door(machine, CASES[0], "bob", f"{LIBRARY}/environment", {})
        same = machine.run(f"find {plain['place']} -printf '%P %m %U\\n' | LC_ALL=C sort | sha1sum")
        assert whole == same, "as under ordinary circumstances: names, modes, owners"
        machine.run(f"rm -r {given['place']} {plain['place']}")
    # What was given to somebody who had closed stdout lies there still, and is wholly theirs.
    left = machine.run(
        f"find {STAGING} -mindepth 1 -type d ! -user bob ! -user alice -printf '%P\\n' | cut -d/ -f1 | sort -u"
    )
    if "timers" in case.circumstances and left.strip():
        # sudo has killed the door, as it does two seconds after its caller's alarm: somebody later clears up.
        machine.run(f"cd {STAGING} && touch -d '2 hours ago' *")
        open_door(machine, CASES[0], "bob", f"{LIBRARY}/environment", {})
        left = machine.run(f"cd {STAGING} && ls -d {' '.join(left.split())} 2>/dev/null || true")
    machine.run(f"rm -rf {STAGING}/*")
    assert left.strip() == "", "nothing half made is left"
    open_door(machine, case, "bob", f"{LIBRARY}/confine", {})
    login = {"name": "bob", "password": PASSWORD}
    answer = open_door(machine, case, "jupyterhub", f"{LIBRARY}/authenticate", login)
    assert answer.get("allowed") or may_refuse(machine, case), (case.name, answer)
    open_door(machine, case, "jupyterhub", f"-u bob {LIBRARY}/mediator", {"action": "prepare"})
    assert_whole(machine, case, before)
    modes = machine.run("stat -c '%a %U:%G' /run/jupyterhub4family /run/jupyterhub4family/faillock")
    assert modes.split() == ["700", "root:root", "700", "root:root"], (case.name, modes)
    machine.run(HEALTHY)


def test_a_delegates_terminal_stops_no_work_of_roots_halfway(machine: Machine) -> None:
    """Ctrl-Z would hold the lock of all accounts for ever, Ctrl-\\ end gpasswd while it writes."""
    machine.write("/usr/local/share/terminal.py", TERMINAL)
    machine.run("gpasswd -a alice jupyterhub >/dev/null && gpasswd -d alice jupyterhub >/dev/null")
    before = machine.run(WHOLE)
    for number in range(12):
        request = {"action": ("add", "remove")[number % 2], "names": ["alice"]}
        machine.write("/run/request", json.dumps(request))
        words = f"{0.1 + number * 0.07} {number % 3} {LIBRARY}/members"
        machine.run(f"python3 -I -B /usr/local/share/terminal.py {words}", user="mum", timeout=60)
        machine.wait("! pgrep -f '[l]ib/jupyterhub4family/members'", timeout=90)
        assert_whole(machine, CASES[0], before)
    machine.run(f"usermod -G '' alice; rm -rf {STAGING}/*")
    machine.run(HEALTHY)
