"""common.entry: a program that is not isolated does nothing; a door has nothing of its caller's.

Each case is a process of its own: what is set here would be the test's own limits, signals and descriptors.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import entry
from jupyterhub4family.common.system import programs
from tests.unit.helpers import PYTHON, SRC, TIMEOUT

ENTRY = SRC / "jupyterhub4family/common/entry.py"
#: A caller who has set up the worst, in Python, before a door is entered in the same process.
WORST = """
import os, resource, signal, sys
os.umask(0o777)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM, signal.SIGTERM}:
    signal.signal(number, signal.SIG_IGN)
os.kill(os.getpid(), signal.SIGALRM); os.kill(os.getpid(), signal.SIGTERM)
signal.setitimer(signal.ITIMER_REAL, 0.3)
os.nice(5)
open("/proc/self/timerslack_ns", "w").write(str(10**18))
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.dup2(1, 77)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 4096))
resource.setrlimit(resource.RLIMIT_CORE, (1000, resource.getrlimit(resource.RLIMIT_CORE)[1]))
"""
#: What is left of that, as JSON.
REMAINS = """
import json, time
slack = int(open("/proc/self/timerslack_ns").read())
if slack < 10**9:
    time.sleep(0.5)
mask = os.umask(0)
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "umask": mask, "ignored": int(status["SigIgn"], 16), "blocked": int(status["SigBlk"], 16),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd") if int(name) != 3),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "size": resource.getrlimit(resource.RLIMIT_FSIZE),
    "cwd": os.getcwd(), "environment": dict(os.environ), "nice": os.nice(0),
    "slack": slack, "processors": len(os.sched_getaffinity(0)),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
}))
"""


def run(code: str, *flags: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that finds our package first."""
    args = [sys.executable, *(flags or PYTHON[1:]), "-c", f"import sys; sys.path.insert(0, {str(SRC)!r})\n{code}"]
    return subprocess.run(args, capture_output=True, encoding="utf-8", timeout=TIMEOUT, check=False, **more)


def left(kind: str, before: str = WORST, after: str = REMAINS, **more: Any) -> dict[str, Any]:
    """What is left after a door of this kind was entered."""
    code = f"{before}\nfrom jupyterhub4family.common import entry\nentry.{kind}()\n{after}"
    done = run(code, **more)
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def numbers(mask: int) -> set[int]:
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_nothing_is_imported_before_the_check_but_what_python_has_loaded() -> None:
    """Else it could be a module of the caller's. An __init__ of ours on the way is as innocent."""
    for file in (ENTRY, ENTRY.parent / "__init__.py", ENTRY.parents[1] / "__init__.py"):
        tree = ast.parse(file.read_text("utf-8"))
        names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
        assert set(names) <= {"os", "sys"} and not any(isinstance(node, ast.ImportFrom) for node in tree.body), file
    for function in (entry.program, entry.root_door, entry.member_door):
        (body,) = (
            node.body
            for node in ast.parse(ENTRY.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__
        )
        assert ast.unparse(body[1]).startswith("if not sys.flags.isolated:\n    _end_not_isolated("), function
    assert inspect.getsource(entry.command).splitlines()[2].strip() == "program()"


@pytest.mark.parametrize(("kind", "status"), [("program", 1), ("command", 1), ("root_door", 1), ("member_door", 0)])
def test_what_is_not_isolated_ends_with_a_sentence(kind: str, status: int, tmp_path: Path) -> None:
    """A door answers, as it always does. And no module of the caller's is imported on the way there."""
    for name in ("gettext", "json", "signal", "resource", "enum", "dataclasses"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('somebody else\\'s module')")
    code = f"from jupyterhub4family.common import entry\nentry.{kind}()\nprint('went on')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    # Where tests run, Python's own library may lie elsewhere than on Debian.
    trusted = f"sys.path[1:1] = [{str(tmp_path)!r}]\nimport os\n"
    done = run(trusted + code, "-E", "-S", env=environment)
    assert done.returncode == status and "went on" not in done.stdout, done
    assert "Traceback" not in done.stderr and "somebody else" not in done.stderr, done
    if kind in ("program", "command"):
        assert "python3 -I" in done.stderr and "Try: " in done.stderr and not done.stdout
    else:
        answer = json.loads(done.stdout)
        assert answer["ok"] is False and answer["status"] == 1 and "python3 -I" in answer["error"]["text"]


@pytest.mark.parametrize(("flags", "added"), [(["-IS"], 1), (["-I"], 0)])
def test_debians_modules_come_last_and_only_where_there_are_none_yet(flags: list[str], added: int) -> None:
    code = (
        "from jupyterhub4family.common import entry\nbefore = list(sys.path)\n"
        "entry.with_debians_modules(); entry.with_debians_modules()\nassert sys.path[:len(before)] == before\n"
        "print(sys.path[len(before):])"
    )
    done = run(code, *flags)
    assert done.stdout.strip() == str(["/usr/lib/python3/dist-packages"][:added]), done


@pytest.mark.parametrize("kind", ["command", "root_door", "member_door"])
def test_paths_come_without_addresses_which_can_be_had_all_the_same(kind: str) -> None:
    code = (
        f"from jupyterhub4family.common import entry; entry.{kind}()\n"
        "assert 'pathlib' in sys.modules and 'urllib.parse' not in sys.modules\n"
        "import pathlib; print(pathlib.Path('/a b').as_uri())\n"
        "import urllib.parse; print(urllib.parse.quote('ü'), urllib.parse.__file__)"
    )
    done = run(code, "-IS")
    assert done.stdout.splitlines()[:2] == ["file:///a%20b", f"%C3%BC {urllib.parse.__file__}"], done


def test_an_isolated_program_goes_on_as_it_is() -> None:
    code = "import os; os.umask(0o123); from jupyterhub4family.common import entry; entry.program()"
    done = run(f"{code}\nprint(oct(os.umask(0)))")
    assert done.stdout.strip() == "0o123", done


def test_a_door_of_roots_has_nothing_of_its_callers(tmp_path: Path) -> None:
    found = left("root_door", env={"SUDO_UID": "1001", "OPENSSL_CONF": "/tmp/x", "LANG": "de_DE"}, cwd=tmp_path)
    assert found["umask"] == 0o077 and found["cwd"] == "/" and found["descriptors"] == [0, 1, 2]
    assert found["environment"] == {"PATH": programs.SAFE_PATH, "LC_ALL": "C.UTF-8", "SUDO_UID": "1001"}
    assert found["blocked"] == 0 and found["interrupt"]
    assert found["slack"] == 50_000 and found["processors"] == len(os.sched_getaffinity(0))
    # In the order of signal(7): HUP, QUIT, USR1, USR2, PIPE, ALRM, TERM, TSTP, TTIN, TTOU, XFSZ, VTALRM, PROF, IO.
    assert numbers(found["ignored"]) == {1, 3, 10, 12, 13, 14, 15, 20, 21, 22, 25, 26, 27, 29}
    assert found["files"] == [1024, 4096] and found["core"] == [0, 0] and found["size"] == [-1, -1]


def test_a_members_door_hands_nothing_of_the_hubs_to_a_server(tmp_path: Path) -> None:
    more = "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))\n"
    found = left("member_door", WORST + more, env={"SECRET": "x"}, cwd=tmp_path)
    assert found["umask"] == 0o022 and found["cwd"] == "/" and found["descriptors"] == [0, 1, 2]
    assert set(found["environment"]) == {"PATH", "LC_ALL"}
    assert found["blocked"] == 0 and numbers(found["ignored"]) == {13, 25} and found["interrupt"]
    assert found["slack"] == 50_000 and found["processors"] == len(os.sched_getaffinity(0))
    assert found["files"] == [1024, 4096], "a program that uses select(2) can have no more"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may lift every limit")
def test_a_door_that_may_not_lift_a_limit_refuses(tmp_path: Path) -> None:
    """As root in a container without CAP_SYS_RESOURCE; what was not set is as it should be all the same."""
    narrow = "import os, resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code = "from jupyterhub4family.common import entry\nentry.root_door()\nprint('on')"
    done = run(narrow + code)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["ok"] is False and "fsize" in answer["error"]["text"], done


@pytest.mark.parametrize("kind", ["program", "root_door", "member_door"])
def test_closed_descriptors_lead_somewhere(kind: str, tmp_path: Path) -> None:
    """A file that is opened next must not become stdout, nor a print end in a traceback."""
    code = f"""
import os
from jupyterhub4family.common import entry
entry.{kind}()
assert sys.stdin.read() == ""
print("into nothing"); print("into nothing", file=sys.stderr)
number = os.open({str(tmp_path / "file")!r}, os.O_WRONLY | os.O_CREAT)
os.write(number, b"%d" % number)
"""
    args = [*PYTHON, "-c", f"import sys; sys.path.insert(0, {str(SRC)!r})\n{code}"]
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *args]
    done = subprocess.run(shell, timeout=TIMEOUT, check=False)
    assert done.returncode == 0 and (tmp_path / "file").read_text() == "3"


def test_the_variables_are_those_of_all_our_programs() -> None:
    assert programs.plain_environment() == {**entry._VARIABLES}
