"""Root reads nothing that it cannot trust: pipes, endless links, huge files, escapes in place of what others write.

The account `jupyterhub` and a member put them in place of every file of theirs that anybody reads; then root runs what
root runs. Everything ends, in little memory, without a traceback; no file of root's is opened in their name, and no
control character of theirs reaches root's terminal.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.machine.lib.family import HEALTHY, add_member, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine

HOME = "/var/lib/jupyterhub4family"
OURS = "jupyterhub4family"
LIBRARY = "/usr/lib/jupyterhub4family"
SECRET = "/root/secret.json"
#: What no command of root's may show, and no link may lead it to.
WORD = "only-root-knows"

#: Of the service: what the code names, whether it is there now or not; and all that lies there now, below.
OF_THE_SERVICE = (
    *("public/settings.last-good.json", "public/expert-files.skipped.json", "public/database-mended.json"),
    *("public/certificate.json", "public/ca.crt", "releases/current", "templates/current"),
    *("state/stopped", "state/log/hub.log", "state/log/proxy.log", "state/build-progress.json"),
)
OF_A_MEMBER = (
    *(".local/state/jupyterhub4family/server.log", ".local/state/jupyterhub4family/server-two.log"),
    *(".local/share/jupyterhub4family/wishes.json", ".local/share/jupyterhub4family/size"),
    *(".profile", ".bashrc", ".bash_login", ".pam_environment", ".jupyter", ".local/share/jupyter", ".config"),
)

#: Sequences that change a terminal's title, colours, cursor and answers; C1 controls; text that runs backwards.
ESCAPE = "\x1b]0;evil\x07\x1b[31;1m\x1b[2J\x1b[6n\x9b31m\x85\x08\r\u202eevil\u2066\u2028\x00\x7f"
#: In JSON every character of it is written as \uXXXX, so it arrives.
_CERTIFICATE = {
    "certificate": {"names": [ESCAPE], "ends": "2030-01-01T00:00:00+00:00", "fingerprint": ESCAPE},
    "authority": {"fingerprint": ESCAPE, "names": [ESCAPE]},
    "source": "ca",
    "left_out": [ESCAPE],
}
ESCAPES = {
    "certificate.json": json.dumps(_CERTIFICATE),
    "database-mended.json": json.dumps({"at": 0, "copy": ESCAPE}),
    "expert-files.skipped.json": json.dumps([{"name": "x.py", "line": 1, "problem": ESCAPE}]),
    "settings.last-good.json": json.dumps({"family_name": ESCAPE, "port": 8000}),
    "ca.crt": f"-----BEGIN CERTIFICATE-----\n{ESCAPE}\n-----END CERTIFICATE-----\n",
    "*": ESCAPE * 20 + "\n",
}
DIGITS = "9" * 4000
#: The keys of all notes, with values that fit no number.
NUMBERS = (
    f'{{"at": {DIGITS}, "copy": {DIGITS}, "port": {DIGITS}, "certificate": {{"ends": {DIGITS}}}, "percent": 1e999}}'
)
TEXTS: dict[str, dict[str, str]] = {
    "escapes": ESCAPES,
    "numbers": {"*": NUMBERS},
    "deep": {"*": "[" * 4000},
    "odd": {"*": '{"certificate": [], "authority": 7, "at": null, "copy": {}, "port": [], "source": {}}'},
}
KINDS = ("pipe", "flood", "zeros", "loop", "secret", "folder", "socket", "sparse", *TEXTS)

#: What root runs: command, and the seconds in which it has to end.
LOOKING = {
    f"{OURS} status": 20,
    f"{OURS} status --json": 20,
    f"{OURS} members list": 20,
    f"{OURS} logs": 20,
    f"{OURS} logs proxy": 20,
    f"{OURS} logs alice": 20,
    f"{OURS} cert show": 20,
    f"{OURS} cert show --json": 20,
    f"{OURS} cert export": 20,
    f"{OURS} config show --origin": 20,
    f"{OURS} config get port": 20,
    f"{OURS} env status alice": 60,
    f"{OURS} backup list": 20,
    f"{OURS} open": 20,
    f"{OURS} version": 20,
    f"{OURS} support": 90,
    "/etc/update-motd.d/60-jupyterhub4family": 5,
    f"{LIBRARY}/supervised-by systemd || true": 10,
    f"{LIBRARY}/backup nightly": 20,
    f"{LIBRARY}/upgrade run": 20,
    f"{LIBRARY}/repair folders files rights accounts": 60,
}
#: Megabytes, of the largest process; the proxy's node is no part of it but where doctor tries it out.
MEMORY = 300
#: What our own colours and the bar write on a terminal (cli/base/terminal.py).
_OWN = re.compile(r"\x1b\[(?:32|33|31|1|2|0)m|\r\x1b\[K|\r\n")
#: Of the command's own: `logs` shows the hub's, which asks the proxy now and then, and has just lost its secrets.
_TRACEBACK = re.compile(r"^(?!.* run-(?:hub|proxy)\[\d+\]: ).*Traceback", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|\\x[89]|\\udc[89]")

HERE = Path(__file__).parent


@pytest.fixture
def machine(new_machine: NewMachine, suite: str) -> Iterator[Machine]:
    """A machine with a member who has an environment, and a file that nobody but root may read."""
    machine = ready(new_machine(suite, layer="installed"))
    prepare(machine)
    yield machine


def prepare(machine: Machine) -> None:
    """Put the two programs on the machine, and what the attack is about."""
    for program in ("watcher.py", "planter.py"):
        machine.put(HERE / program, f"/usr/local/lib/{program}")
        machine.run(f"chmod 755 /usr/local/lib/{program}")
    add_member(machine, "alice")
    machine.run(f"{OURS} env repair alice", timeout=300)
    text = json.dumps({"certificate": {"names": [WORD]}, "family_name": WORD, "problem": WORD, "copy": WORD})
    machine.write(SECRET, text, 0o600)
    # A full name as `chfn` let members write it (CVE-2023-29383).
    gecos = "Alice\x1b]0;evil\x07\x1b[31m"
    program = rf"s/^alice:x:([0-9]+:[0-9]+):[^:]*/alice:x:\1:{gecos}/"
    machine.run(f"sed -i -E {shlex.quote(program)} /etc/passwd")
    # The service breaks in its own way when its files are pipes; that is not what this is about.
    machine.expect_log("")


def places(machine: Machine) -> tuple[list[str], list[str]]:
    """All files of the service, without the insides of what it has built, and those of the member."""
    found = machine.run(
        f"cd {HOME} && find public state -type f -o -type l; find releases templates -maxdepth 2 -name .complete;"
        " find releases templates -path '*/jupyterhub-*/RECORD' -o -path '*/jupyterlab-*/RECORD'"
    ).split()
    # Open in the hub and the proxy meanwhile: what these make of it is their own business.
    busy = re.compile(r"sqlite|state/tls|portal\.(crt|key)|screen")
    service = sorted({f"{HOME}/{one}" for one in (*found, *OF_THE_SERVICE) if not busy.search(one)})
    env = "/home/alice/.local/share/jupyterhub4family/env"
    of_env = machine.run(
        f"ls -d {env}/* {env}/.[a-z]* {env}/lib/python3*/site-packages/jupyterhub-*/METADATA", check=False
    )
    trees = [one for one in of_env.split() if not one.endswith(("/lib", "/lib64", "/share"))]
    return service, [f"/home/alice/{one}" for one in OF_A_MEMBER] + trees


def texts_of(machine: Machine, kind: str) -> Mapping[str, str]:
    texts = dict(TEXTS.get(kind, {}))
    if kind == "escapes":
        now = int(machine.run("date +%s"))
        texts["database-mended.json"] = json.dumps({"at": now, "copy": ESCAPE})
    return texts


def plant(machine: Machine, user: str, kind: str, paths: Sequence[str]) -> None:
    """Have `user` put something of this kind in place of each of these files."""
    machine.write("/tmp/texts.json", json.dumps(texts_of(machine, kind)))
    words = " ".join(map(shlex.quote, paths))
    # In no shell of theirs: that would read its own files.
    program = f"runuser -u {user} -- python3 /usr/local/lib/planter.py"
    machine.run(f'SECRET={SECRET} TEXTS="$(cat /tmp/texts.json)" {program} plant {kind} {words}', timeout=60)


def take_away(machine: Machine, user: str, paths: Sequence[str]) -> None:
    """Have `user` put everything back."""
    machine.execute(f"pkill -u {user} -f planter.py")
    words = " ".join(map(shlex.quote, paths))
    machine.run(f"runuser -u {user} -- python3 /usr/local/lib/planter.py remove {words}", timeout=60)


def watch(machine: Machine, commands: Mapping[str, float], terminal: bool = False) -> list[dict[str, Any]]:
    """Run these commands as root; returns what watcher.py tells."""
    asked = [{"command": command, "terminal": terminal, "seconds": limit} for command, limit in commands.items()]
    answer = machine.run("python3 /usr/local/lib/watcher.py", input=json.dumps(asked), timeout=1800)
    return list(json.loads(answer))


def complaints(kind: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with what the commands did."""
    found = []
    for one in results:
        about = f"{kind}: {one['command']}"
        output = _OWN.sub("", one["output"])
        if one["status"] == "timeout":
            found.append(f"{about}: not over after {one['seconds']} s: {output[-300:]!r}")
        if one["megabytes"] > MEMORY:
            found.append(f"{about}: {one['megabytes']} MB of memory")
        if one["written"] > 4_000_000:
            found.append(f"{about}: {one['written']} bytes written")
        if _TRACEBACK.search(output):
            found.append(f"{about}: {output[-700:]}")
        if WORD in output or "root:$" in output or "root:*" in output:
            found.append(f"{about}: shows what only root may read")
        if control := _CONTROL.search(output):
            around = output[max(0, control.start() - 60) : control.end() + 60]
            found.append(f"{about}: a control character reaches the terminal: {around!r}")
    return found


def secret_was_read(machine: Machine) -> bool:
    """Whether anybody has read the file of root's since it was last asked; it is told by its time of access."""
    accessed = machine.run(f"stat -c %X {SECRET}").strip()
    machine.run(f"touch -a -d @1000 {SECRET}")
    return accessed != "1000"


@pytest.mark.every_debian
@pytest.mark.timeout(1800)
def test_whatever_lies_in_place_of_a_file_root_goes_on(machine: Machine) -> None:
    service, of_alice = places(machine)
    assert len(service) > 15 and len(of_alice) > 10, (service, of_alice)
    secret_was_read(machine)
    machine.run(f"cat {SECRET}")
    assert secret_was_read(machine), "the file system notes who reads"
    found: list[str] = []
    for kind in KINDS:
        plant(machine, "jupyterhub", kind, service)
        plant(machine, "alice", kind, of_alice)
        # A settings file that cannot be used: now the service's note of it counts.
        machine.write("/etc/jupyterhub4family/config.yaml", "port: [\n")
        bad = watch(machine, {f"{OURS} status": 20, f"{OURS} config show": 20, f"{OURS} open": 20})
        machine.run("rm /etc/jupyterhub4family/config.yaml")
        found += complaints(f"{kind}, bad settings", bad)
        found += complaints(kind, watch(machine, LOOKING))
        on_terminal = {f"{OURS} {word}": 90 for word in ("status", "members list", "logs alice", "cert show")}
        if kind in TEXTS:
            # With other kinds `support` does all that `doctor` does.
            on_terminal[f"{OURS} doctor"] = 90
        found += complaints(f"{kind}, terminal", watch(machine, on_terminal, terminal=True))
        if secret_was_read(machine):
            found.append(f"{kind}: root has read its own file in the service's name")
        take_away(machine, "alice", of_alice)
        take_away(machine, "jupyterhub", service)
        if machine.execute("cd /root && tar -xzf jupyterhub4family-support-*.tar.gz --to-stdout >all.txt").returncode:
            found.append(f"{kind}: no archive")
        text = machine.path("/root/all.txt").read_bytes().decode("utf-8", "replace")
        if WORD in text or _CONTROL.search(text):
            found.append(f"{kind}: the archive holds what it must not")
        machine.run("rm -f /root/jupyterhub4family-support-* /root/all.txt")
    assert found == [], "\n".join(found)


@pytest.mark.any_debian
@pytest.mark.timeout(1500)
def test_what_root_changes_ends_as_well(machine: Machine) -> None:
    """Maintainer scripts, backups, repairs: with pipes and with links to root's own file in place of everything."""
    machine.run("apt-get -qq update && apt-get -qq -y install --no-install-recommends restic", timeout=300)
    machine.run(f"{OURS} backup setup /srv/backup")
    service, of_alice = places(machine)
    changing = {
        f"{OURS} doctor settings folders supervisor --fix": 120,
        f"{OURS} backup now": 300,
        f"{OURS} backup list": 60,
        f"{OURS} members add alice": 120,
        f"{LIBRARY}/setup configure": 300,
        f"{LIBRARY}/upgrade keep": 300,
        f"{OURS} stop": 120,
        f"{OURS} start": 120,
        f"{OURS} upgrade --check": 200,
    }
    found: list[str] = []
    secret_was_read(machine)
    for kind in ("pipe", "secret"):
        plant(machine, "jupyterhub", kind, service)
        plant(machine, "alice", kind, of_alice)
        found += complaints(kind, watch(machine, changing))
        if secret_was_read(machine):
            found.append(f"{kind}: root has read its own file in the service's name")
        take_away(machine, "alice", of_alice)
        take_away(machine, "jupyterhub", service)
    assert found == [], "\n".join(found)
    machine.run(f"{OURS} restart --all")
    machine.wait(HEALTHY, timeout=120)


@pytest.mark.with_cron
@pytest.mark.timeout(1200)
def test_where_cron_supervises_the_log_is_read_by_root_itself(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed", init="sysvinit"))
    prepare(machine)
    assert "hub" in machine.run(f"{OURS} logs")
    service, _of_alice = places(machine)
    found: list[str] = []
    secret_was_read(machine)
    looking = {f"{OURS} {word}": 30 for word in ("logs", "logs proxy", "status", "doctor supervisor portal settings")}
    for kind in ("pipe", "flood", "zeros", "secret", "sparse", "escapes"):
        plant(machine, "jupyterhub", kind, service)
        found += complaints(kind, watch(machine, looking))
        found += complaints(f"{kind}, terminal", watch(machine, {f"{OURS} logs": 30}, terminal=True))
        if secret_was_read(machine):
            found.append(f"{kind}: root has read its own file in the service's name")
        take_away(machine, "jupyterhub", service)
    assert found == [], "\n".join(found)


#: As the account jupyterhub, with the portal's own certificate: answers on its ports, in the way that it is told.
IMPOSTOR = r"""
import json, socket, ssl, sys, threading, time
kind = sys.argv[1]
evil = "\x1b]0;evil\x07\u202e"
progress = json.dumps({"percent": 10**30, "message": evil, "hint": evil, "failed": True}).encode()
if kind == "deep": progress = b"[" * 60000
answers = {
    "drip": (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.5), "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0),
    "body": (b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.01),
    "zeros": (b"", bytes(65536), 0),
    "away": (b"HTTP/1.1 302 X\r\nLocation: ftp://127.0.0.1:8000/etc/shadow\r\nContent-Length: 0\r\n\r\n", b"", 0),
}
def answer(visitor, secure):
    try:
        if secure: visitor = tls.wrap_socket(visitor, server_side=True)
        asked = visitor.recv(4096)
        first, forever, pause = answers.get(kind, (b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", b"", 0))
        if b"setup-progress" in asked and kind in ("escapes", "deep"):
            first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(progress) + progress
        visitor.sendall(first)
        while forever:
            visitor.sendall(forever); time.sleep(pause)
    except OSError: pass
    visitor.close()
def serve(port, secure):
    door = socket.create_server(("0.0.0.0", port))
    while True: threading.Thread(target=answer, args=(door.accept()[0], secure), daemon=True).start()
state = "/var/lib/jupyterhub4family/state/tls/"
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(state + "portal.crt", state + "portal.key")
threading.Thread(target=serve, args=(8081, False), daemon=True).start()
threading.Thread(target=serve, args=(8001, False), daemon=True).start()
serve(8000, True)
"""


@pytest.mark.any_debian
def test_whoever_answers_on_the_ports_keeps_root_not_waiting(machine: Machine) -> None:
    machine.write("/usr/local/lib/impostor.py", IMPOSTOR)
    looking = {f"{OURS} status": 20, f"{OURS} status --json": 20, f"{OURS} doctor portal ports certificate": 40}
    found: list[str] = []
    # Nobody but the service gets these ports; here the service's own account is the hostile one.
    machine.run(f"{OURS} stop && systemctl stop jupyterhub4family-ports.socket jupyterhub4family-ports.service")
    for kind in ("drip", "headers", "body", "zeros", "away", "escapes", "deep"):
        machine.run(f"setsid runuser -u jupyterhub -- python3 /usr/local/lib/impostor.py {kind} >/dev/null 2>&1 &")
        machine.wait("ss -ltn | grep -q :8000 && ss -ltn | grep -q :8081")
        found += complaints(kind, watch(machine, looking))
        machine.run("pkill -u jupyterhub -f impostor.py")
        machine.wait("! ss -ltn | grep -q :8000")
    assert found == [], "\n".join(found)
    machine.run(f"{OURS} start")
    machine.wait(HEALTHY, timeout=120)
