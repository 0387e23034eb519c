"""proxy/owners.js and service.run.owner_of_port: a member's address leads to the member's own program or nowhere."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.service.run import owner_of_port
from tests.unit import javascript
from tests.unit.helpers import SRC, TIMEOUT, free_port

ME = pwd.getpwuid(os.getuid()).pw_name
#: A proxy that has one route, and says what becomes of a request.
ASK = """
const { Kernel, asked, guardPorts } = require("./owners.js");
const logged = [];
const log = { warn: (...words) => logged.push(words.join(" ")) };
let proxy;
const make = () => {
  proxy = {
    targetForReq: async () => given.route,
    handleProxy: async (kind, request) => (request.judged === given.route ? "led" : "led without a look"),
    handleProxyError: (code) => { proxy.refused = code; },
  };
  guardPorts(proxy, log, given.program);
};
const ask = async (kind = "web", response = { on() {} }) => {
  if (!proxy) make();
  return (await proxy.handleProxy(kind, {}, response)) || String(proxy.refused);
};
"""


def program(directory: Path, text: str = "") -> str:
    """The program that the proxy is told, as a file; `text` in place of ours."""
    file = directory / "owner-of-port"
    ours = f"import sys\nsys.path.insert(0, {str(SRC)!r})\n"
    ours += "from jupyterhub4family.service.run.owner_of_port import main\nmain()"
    file.write_text(f"#!{sys.executable} -I\n{text or ours}\n")
    file.chmod(0o755)
    return str(file)


def asked(directory: Path, port: int, *, text: str = "", name: str = ME, body: str = "return ask();") -> Any:
    """What becomes of a request for that member's server, which is at that port."""
    route = {"prefix": f"/user/{name}", "target": f"http://127.0.0.1:{port}"}
    return javascript.run(ASK + body, {"route": route, "program": program(directory, text)})


@contextlib.contextmanager
def listening(address: str) -> Iterator[int]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as listener:
        try:
            if ":" in address:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def crowd() -> Iterator[None]:
    """More ports than are looked at for a request."""
    with contextlib.ExitStack() as many:
        for number in range(300):
            many.enter_context(socket.create_server((f"127.0.0.{number % 50 + 2}", 0)))
        yield


BROKEN = ("raise SystemExit(1)", "import sys\nfor line in sys.stdin: print('?', flush=True)", "print('x' * 99)")


@pytest.mark.parametrize("text", ["", *BROKEN], ids=["ours", "ended", "?", "nonsense"])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_the_own_server_is_reached(tmp_path: Path, address: str, text: str) -> None:
    """Also where the kernel cannot be asked: then its tables are looked through."""
    with listening(address) as port:
        assert asked(tmp_path, port, text=text) == "led"
        assert asked(tmp_path, port, text=text, name="root" if ME != "root" else "nobody") == "503"


@pytest.mark.parametrize("text", ["", *BROKEN], ids=["ours", "ended", "?", "nonsense"])
def test_nobody_who_listens_elsewhere_is_taken_for_it(tmp_path: Path, text: str) -> None:
    assert asked(tmp_path, free_port(), text=text) == "503"
    with listening("127.0.0.2") as port:
        assert asked(tmp_path, port, text=text) == "503"


@pytest.mark.usefixtures("crowd")
def test_among_many_the_kernel_is_asked_for_the_one(tmp_path: Path) -> None:
    count = f"import pathlib; pathlib.Path({str(tmp_path / 'asked')!r}).touch()\n"
    ours = Path(program(tmp_path)).read_text().partition("\n")[2]
    found = set()
    with contextlib.ExitStack() as mine:
        for _number in range(20):
            port = mine.enter_context(listening("127.0.0.1"))
            found.add(asked(tmp_path, port, text=count + ours))
    assert found == {"led"} and (tmp_path / "asked").exists()


def test_a_program_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    """Nobody waits for longer, and new questions give it no more time; then all ports are looked through."""
    with listening("0.0.0.0") as port:
        body = f"""
          const kernel = new Kernel(given.program, log, 1000);
          const began = Date.now();
          const first = asked({ME!r}, {port}, kernel).then((isTheirs) => [isTheirs, Date.now() - began]);
          for (let count = 0; count < 12; count += 1) {{
            asked({ME!r}, {port}, kernel);
            await new Promise((done) => setTimeout(done, 200));
          }}
          return [await first, await asked("nobody-else", {port}, kernel), logged];
        """
        (first, milliseconds), other, logged = asked(tmp_path, port, text="import time; time.sleep(60)", body=body)
    assert first is True and 900 < milliseconds < 6000 and other is False
    assert "has ended" in logged[0] and len(logged) == 1, "started again after seconds only"


def test_of_many_who_have_to_be_looked_for_each_is_looked_for_once(tmp_path: Path) -> None:
    """A hundred thousand lines take a third of a second, in which nobody else gets an answer."""
    with listening("0.0.0.0") as port:
        body = f"""
          const fs = require("fs");
          const read = fs.readFileSync;
          let looks = 0;
          fs.readFileSync = (...words) => {{ if (/tcp$/.test(words[0])) looks += 1; return read(...words); }};
          const kernel = {{ ownerOf: async () => {{ throw new Error("gone"); }} }};
          const all = await Promise.all(Array.from({{ length: 100 }}, () => asked({ME!r}, {port}, kernel)));
          await new Promise((done) => setTimeout(done, 10));
          const later = await asked({ME!r}, {port}, kernel);
          return [all.every(Boolean), later, looks];
        """
        assert asked(tmp_path, port, body=body) == [True, True, 2]


def test_an_answer_that_comes_late_is_asked_for_again(tmp_path: Path) -> None:
    """The port may have changed hands since."""
    body = f"""
      const answers = [[900, {os.getuid()}], [900, {os.getuid()}], [0, 12345]];
      let count = 0;
      const kernel = {{ ownerOf: async () => {{
        const [wait, uid] = answers[count++];
        await new Promise((done) => setTimeout(done, wait));
        return String(uid);
      }} }};
      const changed = await asked({ME!r}, 1, kernel, 800);
      answers.push([0, {os.getuid()}], [0, 12345]);
      return [changed, await asked({ME!r}, 1, kernel, 800), count];
    """
    assert asked(tmp_path, 1, body=body) == [False, True, 4]


def test_a_program_that_is_let_go_is_asked_nothing_more(tmp_path: Path) -> None:
    with listening("0.0.0.0") as port:
        body = f"""
          const kernel = new Kernel(given.program, log);
          const answers = [];
          for (let count = 0; count < 3; count += 1) {{
            answers.push(await kernel.ownerOf({port}));
            kernel.release();
          }}
          return [answers, logged];
        """
        assert asked(tmp_path, port, body=body) == [[str(os.getuid())] * 3, []]


def test_what_cannot_be_told_once_may_be_told_the_next_time(tmp_path: Path) -> None:
    text = (
        "import sys\n"
        f"for number, line in enumerate(sys.stdin): print('?' if number % 2 == 0 else {os.getuid()}, flush=True)"
    )
    with listening("0.0.0.0") as port:
        body = f"""
          const kernel = new Kernel(given.program, log);
          const [one, other] = [kernel.ownerOf({port}), kernel.ownerOf({port})].map((answer) => answer.catch(String));
          return [await one, await other, logged.length];
        """
        assert asked(tmp_path, port, text=text, body=body) == ["Error: ?", str(os.getuid()), 1]


def test_a_program_that_is_not_there_keeps_nobody_out(tmp_path: Path) -> None:
    with listening("0.0.0.0") as port:
        body = "given.program = '/nonexistent/program'; return [await ask(), logged];"
        outcome, logged = asked(tmp_path, port, body=body)
    assert outcome == "led" and "ENOENT" in logged[0]


def test_many_questions_are_answered_each(tmp_path: Path) -> None:
    """Answers belong to the questions in their order; one program is enough for all."""
    with listening("127.0.0.1") as mine:
        nobodys = free_port()
        body = f"""
          const kernel = new Kernel(given.program, log);
          const ports = Array.from({{ length: 200 }}, (_, number) => (number % 3 ? {mine} : {nobodys}));
          const pids = new Set();
          const answers = await Promise.all(ports.map((port) => {{
            const answer = kernel.ownerOf(port);
            pids.add(kernel.child.pid);
            return answer;
          }}));
          return [answers, pids.size];
        """
        answers, programs = asked(tmp_path, mine, body=body)
    assert answers == [str(os.getuid()) if number % 3 else "" for number in range(200)] and programs == 1


def test_a_web_socket_that_ends_meanwhile_ends_nothing_else(tmp_path: Path) -> None:
    with listening("0.0.0.0") as port:
        body = """
          const { Duplex } = require("stream");
          const socket = new Duplex({ read() {}, write() {} });
          setTimeout(() => socket.destroy(new Error("ECONNRESET")), 1);
          return ask("ws", socket);
        """
        slow = "import time; time.sleep(0.5)\n" + Path(program(tmp_path)).read_text().partition("\n")[2]
        assert asked(tmp_path, port, text=slow, body=body) == "undefined", "neither led nor refused: nobody is there"


def test_an_account_that_does_not_fit_is_asked_about_once_a_second() -> None:
    body = """
      const { isUidOf } = require("./owners.js");
      const children = require("child_process");
      const began = Date.now();
      for (let count = 0; count < 2000; count += 1) if (isUidOf(given.name, "123456789")) return "taken for another";
      const took = Date.now() - began;
      await new Promise((done) => setTimeout(done, 1100));
      return [took, isUidOf(given.name, given.uid)];
    """
    took, is_mine = javascript.run(body, {"name": ME, "uid": str(os.getuid())})
    assert took < 1000 and is_mine


@pytest.mark.parametrize("line", ["", "x", "-1", "65536", "9" * 99, "80 80", "\u0663"])
def test_the_program_survives_whatever_it_is_asked(line: str) -> None:
    assert owner_of_port.owner(line + "\n") in ("?", "")


def test_the_program_ends_with_its_questions(tmp_path: Path) -> None:
    with listening("127.0.0.1") as port:
        done = subprocess.run(
            [program(tmp_path)], input=f"{port}\nx\n", capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, [str(os.getuid()), "?"], "")
