"""Is a machine well? And if a test failed: what is worth keeping of it?

A test passes only if its machines are healthy at the end: no failed unit, no traceback in any log.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.machine.lib.machine import Machine
from tests.machine.lib.places import failures_of, host, last_lines

TRACEBACK = "Traceback (most recent call last)"
# A server and its kernels write to one file: lines of the one may come between those of the other.
_ANOTHER = re.compile(r"\[[DIWEC] \d{4}-\d\d-\d\d ")

# Where anything of ours, or of Debian's about us, is written. The journal is asked separately.
LOG_PLACES = (
    "/var/log",
    "/var/lib/jupyterhub4family/state/log",
    "/home/*/.local/state/jupyterhub4family",
)
# What says nothing about our code, and comes when it wants. A new entry needs its reason.
NOISE = (
    # CPython: a second signal (screen's SIGHUP after SIGTERM) between the end of the event loop and of the process.
    re.compile(r"signal wakeup fd[\s\S]*OSError: \[Errno 9\] Bad file descriptor"),
    # The same in CPython before 3.9.3, so on Debian 11, when its handler has just been taken away:
    # https://github.com/python/cpython/issues/87572
    re.compile(r"in _shutdown\n[\s\S]*TypeError: 'int' object is not callable\s*$"),
    # tornado: a browser that went on to another page while a server was answering the last one's questions.
    re.compile(r"tornado\.iostream\.StreamClosedError: Stream is closed"),
    # ipykernel: JupyterLab ended a kernel that was still starting (a page that was closed early), with a signal.
    re.compile(r"/ipykernel_launcher\.py\"[\s\S]*\nKeyboardInterrupt\s*$"),
    # tornado: the hub was told to end while it answered somebody, most often the proxy that asks for its routes.
    re.compile(r"_HandlerDelegate\.execute[\s\S]*CancelledError\s*$"),
)
_FIND_LOGS = (
    f"find {' '.join(LOG_PLACES)} -xdev -type f -not -path '/var/log/journal/*'"
    " -not -name '[bw]tmp*' -not -name lastlog -not -name faillog 2>/dev/null"
)
_FIND_OURS = _FIND_LOGS.replace("/var/log ", "", 1)
_JOURNAL = "journalctl --quiet --no-pager"

Ask = Callable[[str], str]


class Unhealthy(AssertionError):
    """A test did what it should, but a machine was left unwell."""


def check(machine: Machine) -> None:
    """Raise when something on the machine went wrong that the test did not announce."""
    found = problems(machine)
    if found:
        raise Unhealthy(f"[{machine.suite} {machine.name}] " + "\n\n".join(found))


def problems(machine: Machine) -> list[str]:
    """Return what is wrong on a machine; one that is off is examined from outside."""
    found = []
    if machine.pid is not None and machine.init == "systemd":
        found += _failed_units(machine)
    with machine.looking_in() as ask:
        for place, text in _logs_with_tracebacks(ask).items():
            for block in tracebacks(text):
                if not any(expected.search(block) for expected in (*NOISE, *machine.expected_logs)):
                    found.append(f"traceback in {place}:\n{block}")
    return found


def tracebacks(text: str) -> list[str]:
    """Cut tracebacks out of a log, each with the line before it and the exceptions chained to it."""
    lines = text.splitlines()
    blocks, at = [], 0
    while at < len(lines):
        if TRACEBACK not in lines[at]:
            at += 1
            continue
        end = _end_of_traceback(lines, at)
        blocks.append("\n".join(lines[max(0, at - 1) : end]))
        at = end
    return blocks


def _end_of_traceback(lines: list[str], start: int) -> int:
    """Return the index after the exception's own line; a chain of exceptions counts as one."""

    def inside(line: str) -> bool:
        return not line or line[0].isspace() or bool(_ANOTHER.match(line))

    at = start + 1
    while at < len(lines) and at < start + 80 and inside(lines[at]):
        at += 1
    at += 1
    for next_one in range(at, min(at + 4, len(lines))):
        if TRACEBACK in lines[next_one] and re.search(
            "exception was the direct cause|handling of the above", "".join(lines[at:next_one])
        ):
            return _end_of_traceback(lines, next_one)
    return at


def _failed_units(machine: Machine) -> list[str]:
    listing = machine.run("systemctl list-units --failed --plain --no-legend --full")
    units = [line.split()[0] for line in listing.splitlines() if line.split()]
    return [
        f"{unit} failed:\n" + machine.run(f"systemctl status --no-pager {unit}", check=False)
        for unit in units
        if unit not in machine.expected_failed
    ]


def _logs_with_tracebacks(ask: Ask) -> dict[str, str]:
    found = {}
    names = ask(f"{_FIND_LOGS} -exec grep -lIF {shlex.quote(TRACEBACK)} {{}} +")
    for name in names.splitlines():
        found[name] = ask(f"cat -- {shlex.quote(name)}")
    journal = ask(f"{_JOURNAL} --output=cat")
    if TRACEBACK in journal:
        found["the journal"] = journal
    return found


def keep(machine: Machine, test: str) -> str:
    """Save what explains a failure; return the end of it for the report."""
    directory = failures_of(test) / f"{machine.suite}-{machine.name}"
    directory.mkdir(parents=True, exist_ok=True)
    texts = {"console.log": machine.console(2000)}
    try:
        with machine.looking_in() as ask:
            texts["journal.log"] = last_lines(ask(_JOURNAL), 3000)
            _copy_logs(ask, directory)
            texts["logs-tail"] = ask(f"{_FIND_OURS} -size -20M -exec tail -n 15 {{}} +")
        if machine.pid is not None:
            status = "ps axfo user,pid,etimes,rss,args; ss -ltnp; df -h; systemctl --failed --no-pager"
            texts["status.txt"] = machine.execute(f"{{ {status}; }} 2>&1", timeout=30).stdout
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        texts["incomplete.txt"] = repr(error)
    for name, text in texts.items():
        (directory / name).write_text(text)
    tail = [f"kept in {directory}"]
    for name, count in (("console.log", 8), ("journal.log", 40), ("logs-tail", 80)):
        tail += [f"--- {name}", last_lines(texts.get(name, ""), count)]
    return "\n".join(tail)


def _copy_logs(ask: Ask, directory: Path) -> None:
    """Copy the logs as one archive: their names and owners are the machine's."""
    archive = ask(f"{_FIND_LOGS} -size -20M -print0 | tar -cz --null -T - 2>/dev/null | base64")
    host("sh", "-c", f"base64 -d > {shlex.quote(str(directory / 'logs.tar.gz'))}", input=archive)
