"""Extensions that many use, in a server that starts lean (ADR 27), prepared ahead (ADR 36) and from nothing.

A member installs them as anybody does. Each is asked for something that it cannot answer without its own libraries:
SQLAlchemy, aiohttp, nbdime, pycrdt, psutil; then the same of a plain server, which must say the same.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.machine.lib.client import Browser
from tests.machine.lib.family import add_member, logged_in, ready
from tests.machine.lib.machine import Machine
from tests.machine.lib.plugin import NewMachine
from tests.machine.test_lean import LOG, PIP, START, command_line, log_of
from tests.machine.test_waiting import pid_of_server, until_one_waits

#: The newest that were tried: for Debian 11's Python 3.9, and for the others'.
VERSIONS = {
    "jupyter-scheduler": ("2.12.1", "2.12.1"),
    "jupyter-collaboration": ("4.2.1", "5.0.4"),
    "jupyterlab-git": ("0.52.0", "0.55.0"),
    "jupyter-server-proxy": ("4.5.0", "4.6.0"),
    "nbgitpuller": ("1.3.0", "1.3.0"),
    "jupyter-resource-usage": ("1.2.1", "1.3.0"),
    "ipywidgets": ("8.1.9", "8.1.9"),
    "voila": ("0.5.11", "0.5.13"),
}
LOADED = set("jupyter_scheduler jupyter_server_ydoc jupyterlab_git jupyter_server_proxy nbgitpuller".split())
LOADED |= {"jupyter_resource_usage", "voila.server_extension"}
#: A program of the member's that jupyter-server-proxy starts, waits for by aiohttp, and hands on.
COMMAND = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "{port}"]
SETTINGS = {"ServerProxy": {"servers": {"hello": {"command": COMMAND, "timeout": 20}}}}
SOURCE = "print('six times seven is', 6 * 7)"
CELL: dict[str, object] = {"cell_type": "code", "id": "one", "execution_count": None, "source": SOURCE}
CELL |= {"metadata": {}, "outputs": []}
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
NOTEBOOK = {"cells": [CELL], "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}
#: Here a member asks for plain servers.
PLAIN = "~/.config/jupyterhub4family"
GIT = "git -c user.name=Alice -c user.email=alice@example.org"


@pytest.mark.campaign
@pytest.mark.any_debian
def test_extensions_have_their_own_libraries(new_machine: NewMachine, suite: str) -> None:
    machine = ready(new_machine(suite, layer="installed"))
    add_member(machine, "alice")
    machine.run("apt-get install -qy --no-install-recommends git", timeout=300)
    wanted = " ".join(f"{name}=={pair[suite != 'bullseye']}" for name, pair in VERSIONS.items())
    machine.run(f"{PIP} install -q {wanted}", user="alice", timeout=600)
    settings = "mkdir -p ~/.jupyter && cat > ~/.jupyter/jupyter_server_config.json"
    machine.run(settings, user="alice", input=json.dumps(SETTINGS))
    answers, memory, warnings = {}, {}, {}
    with logged_in(machine, "alice") as alice:
        for way in ("ahead", "lean", "plain"):
            # The page after the login has had one prepared; nobody opens it again. It writes its log already.
            ahead = [until_one_waits(machine, "alice")] if way == "ahead" else []
            if not ahead:
                machine.run(f"rm -f ~/{LOG}", user="alice")
            alice.start_server()
            assert ahead in ([], [pid_of_server(machine, "alice")])
            assert (START in command_line(machine, "alice")) is (way != "plain")
            answers[way], memory[way] = _ask_all(machine, alice, way)
            alice.stop_server()
            warnings[way] = _warnings(log_of(machine, "alice").replace(f"{way}/", ""))
            if way == "lean":
                machine.run(f"mkdir -p {PLAIN} && touch {PLAIN}/plain-server", user="alice")
    print(f"{suite}: MB of a server when it has started, and when all were asked: {memory}")
    for way in ("ahead", "lean"):
        assert answers[way] == answers["plain"]
        assert warnings[way] <= warnings["plain"], "it has nothing to complain of that a plain one has not"
        assert all(less < more for less, more in zip(memory[way], memory["plain"])), memory


def _ask_all(machine: Machine, alice: Browser, directory: str) -> tuple[dict[str, object], tuple[int, int]]:
    """What each answers about files in this directory, and the server's memory before and after."""
    machine.run(f"mkdir {directory} && cat > {directory}/notebook.ipynb", user="alice", input=json.dumps(NOTEBOOK))
    alice.open_lab().expect()
    fresh = _memory(machine)
    answers = {question.__name__: question(machine, alice, directory) for question in QUESTIONS}
    return answers, (fresh, _memory(machine))


def _warnings(log: str) -> set[str]:
    """Of the log of a server that has ended, with all extensions and without an error."""
    loaded = set(re.findall(r"(\S+) \| extension was successfully loaded", log))
    assert loaded >= LOADED, loaded
    assert not re.search(r"^\[E |Traceback|^\[. jupyterhub4family\]", log, re.MULTILINE), log
    return set(re.findall(r"^\[W \S+ \S+ (.*)$", log, re.MULTILINE))


def _memory(machine: Machine) -> int:
    pid = machine.run("pgrep -o -u alice -f bin/jupyterhub-singleuser").strip()
    return int(machine.run(f"awk '/^Pss:/ {{ print $2 }}' /proc/{pid}/smaps_rollup")) // 1024


def _json(alice: Browser, method: str, path: str, body: object = None) -> Any:
    return alice.fetch(method, alice.home() + path, body).expect().json()


def _until(found: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def _scheduler(machine: Machine, alice: Browser, directory: str) -> object:
    """SQLAlchemy; and a process that Python starts anew from the server's program (`multiprocessing`)."""
    (environment,) = _json(alice, "GET", "scheduler/runtime_environments")
    job = {"name": directory, "input_uri": f"{directory}/notebook.ipynb", "output_formats": ["ipynb"]}
    job["runtime_environment_name"] = environment["name"]
    number = _json(alice, "POST", "scheduler/jobs", job)["job_id"]

    def has_run() -> bool:
        found = _json(alice, "GET", f"scheduler/jobs/{number}")
        assert found["status"] != "FAILED", found
        return bool(found["status"] == "COMPLETED")

    _until(has_run, "the job ends")
    machine.run(f"grep -qr 'seven is 42' ~/.local/share/jupyter/scheduler_staging_area/{number}", user="alice")
    _json(alice, "POST", "scheduler/job_definitions", {**job, "schedule": "0 0 1 1 *", "timezone": "UTC"})
    definitions = _json(alice, "GET", f"scheduler/job_definitions?name={directory}")
    assert definitions["total_count"] == 1, definitions
    (definition,) = definitions["job_definitions"]
    return environment, definition["schedule"], definition["active"]


def _collaboration(_machine: Machine, alice: Browser, directory: str) -> object:
    """Pycrdt: the document as a second window gets it."""
    about = {"format": "json", "type": "notebook"}
    session = _json(alice, "PUT", f"api/collaboration/session/{directory}/notebook.ipynb", about)
    room = f"json:notebook:{session['fileId']}?sessionId={session['sessionId']}"
    socket = alice.websocket(f"{alice.home()}api/collaboration/room/{room}")
    # Of y-protocols: synchronisation, step 1, one byte, which says that this window has nothing yet.
    socket.send(b"\0\0\1\0")
    heard = b""
    deadline = time.monotonic() + 30
    while SOURCE.encode() not in heard:
        message = socket.receive(deadline - time.monotonic())
        heard += message if isinstance(message, bytes) else message.encode()
    socket.close()
    return session["format"], session["type"]


def _puller(machine: Machine, alice: Browser, directory: str) -> object:
    """A repository of the member's own."""
    machine.run(
        f"{GIT} init -q -b main origin-{directory} && cd origin-{directory} && cp ~/{directory}/notebook.ipynb . &&"
        f" {GIT} add . && {GIT} commit -qm first",
        user="alice",
    )
    home = alice.home()
    query = f"repo=file:///home/alice/origin-{directory}&branch=main&targetpath={directory}/pulled"
    assert "nbgitpuller" in alice.get(f"{home}git-pull?{query}").expect().text
    events = alice.fetch("GET", f"{home}git-pull/api?{query}").expect().text
    assert '"phase": "finished"' in events and '"phase": "error"' not in events, events
    return machine.run(f"cat {directory}/pulled/notebook.ipynb", user="alice")


def _git(machine: Machine, alice: Browser, directory: str) -> object:
    """The same repository; and nbdime."""
    machine.run(f"echo new > {directory}/pulled/new.txt", user="alice")
    status = _json(alice, "POST", f"git/{directory}/pulled/status")
    assert (status["code"], [one["to"] for one in status["files"]]) == (0, ["new.txt"]), status
    log = _json(alice, "POST", f"git/{directory}/pulled/log", {"history_count": 5})
    assert [one["commit_msg"] for one in log["commits"]] == ["first"], log
    changed = json.dumps({**NOTEBOOK, "cells": [{**CELL, "source": "print(43)"}]})
    body = {"previousContent": json.dumps(NOTEBOOK), "currentContent": changed}
    difference = _json(alice, "POST", "git/diffnotebook", body)
    assert "print(43)" in json.dumps(difference["diff"]), difference
    return status["branch"], status["files"], difference


def _proxy(_machine: Machine, alice: Browser, directory: str) -> object:
    """Aiohttp asks the member's program until it answers."""
    assert json.loads(alice.get(f"{alice.home()}hello/{directory}/notebook.ipynb").expect().text) == NOTEBOOK
    return _json(alice, "GET", "server-proxy/servers-info")


def _usage(_machine: Machine, alice: Browser, _directory: str) -> object:
    """What psutil counts, and what a kernel says of itself."""
    kernel = alice.kernel()
    measured = _json(alice, "GET", "api/metrics/v1")
    assert measured["rss"] > measured["pss"] > 50_000_000, measured
    reported = _json(alice, "GET", f"api/metrics/v1/kernel_usage/get_usage/{kernel.id}")
    assert reported["content"]["kernel_memory"] > 10_000_000, reported
    assert re.search(r"^total_memory_usage [1-9]", alice.get(alice.home() + "metrics").expect().text, re.MULTILINE)
    kernel.shutdown()
    return sorted(measured), sorted(reported["content"])


def _widgets(_machine: Machine, alice: Browser, _directory: str) -> object:
    """A slider in a kernel opens its comm in every window, and follows when one of them moves it."""
    kernel = alice.kernel()
    window = alice.websocket(f"{alice.home()}api/kernels/{kernel.id}/channels?session_id=window")
    assert kernel.execute("import ipywidgets; slider = ipywidgets.IntSlider(3); slider") == "IntSlider(value=3)"
    opened: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + 30
    while "IntSliderModel" not in opened:
        message = json.loads(window.receive(deadline - time.monotonic()))
        if message["header"]["msg_type"] == "comm_open":
            opened[message["content"]["data"]["state"]["_model_name"]] = message["content"]
    slider = opened["IntSliderModel"]
    header = {"msg_id": "move", "msg_type": "comm_msg", "session": "window", "username": "alice", "version": "5.3"}
    content = {"comm_id": slider["comm_id"], "data": {"method": "update", "state": {"value": 7}, "buffer_paths": []}}
    message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    window.send(json.dumps({**message, "buffers": []}))
    _until(lambda: kernel.execute("slider.value") == "7", "the slider has moved")
    window.close()
    kernel.shutdown()
    return slider["target_name"], sorted(opened)


def _voila(_machine: Machine, alice: Browser, directory: str) -> object:
    """A notebook as a page: run, and without its source."""
    page = alice.get(f"{alice.home()}voila/render/{directory}/notebook.ipynb").expect().text
    assert "six times seven is 42" in page and SOURCE not in page
    return "<title>" in page


Question = Callable[[Machine, Browser, str], object]
QUESTIONS: tuple[Question, ...] = (_scheduler, _collaboration, _puller, _git, _proxy, _usage, _widgets, _voila)
