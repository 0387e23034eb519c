"""Any identity: whether all that a server needs can be imported in an environment, and where Python looks for it.

What an import finds depends on the files of those places alone. Where another environment has the very same files there
(common/python/likeness.py), it finds the same, and need not be tried.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import programs

#: Seconds that an import may take.
TIMEOUT = 120
#: Where Python looks at its start already, before anybody could note it; and the programs.
ALWAYS = ("", "bin", "lib")
#: Modules to be found, with what people call them.
MODULES = {"jupyterhub.singleuser": "jupyterhub", "jupyterlab": "jupyterlab", "notebook": "notebook"}
_IMPORT = "import jupyterhub.singleuser.app, jupyterlab.labapp, notebook.app, ipykernel.kernelapp"
#: The same in a process that ends at once: to tidy up, meanwhile and afterwards, takes Python a quarter of the time.
_ONLY_IMPORT = f"import gc, os; gc.disable(); {_IMPORT}; os._exit(0)"
#: The line of a traceback that says what was raised.
_RAISED = re.compile(r"[A-Za-z_][\w.]*(?:Error|Exception)\b")
#: Prints those of its arguments that cannot be found, without importing what is costly to import.
_FIND = (
    "import importlib.util as u, sys\n"
    "for n in sys.argv[1:]:\n"
    "    try: found = u.find_spec(n)\n"
    "    except Exception: found = None\n"
    "    if found is None: print(n)\n"
)
#: Imports, and prints every file that was opened or loaded and every directory that was listed for it, and where
#: modules lie.
_WATCH = f"""
import gc, os, sys
gc.disable()
opened, listed = set(), set()
def note(event, values):
    if event == "open" and isinstance(values[0], (str, bytes)):
        opened.add(os.fsdecode(values[0]))
    elif event == "import" and values[1]:
        opened.add(os.fsdecode(values[1]))
    elif event in ("os.listdir", "os.scandir") and isinstance(values[0], (str, bytes)):
        listed.add(os.fsdecode(values[0]))
sys.addaudithook(note)
{_IMPORT}
with open("/proc/self/maps", errors="surrogateescape") as maps:
    # What the loader has loaded for a module (NAME.libs) is no event of Python's.
    opened.update(path.rstrip("\\n") for line in maps for path in line.split(None, 5)[5:] if path[0] == "/")
found = [sorted(opened), sorted(listed), [sys.modules[name].__file__ for name in sys.argv[1:]]]
import json
print(json.dumps(found), flush=True)
os._exit(0)
"""


def missing(environment: Path, imports: bool) -> list[str]:
    """What a server needs and `environment` lacks: names of packages, an error, or `python` if that does not run.

    With `imports` all is imported, which takes a second or more; without, it is only looked for.
    """
    python = environment / "bin" / "python"
    try:
        if imports:
            tried = programs.run([python, "-c", _ONLY_IMPORT], check=False, timeout=TIMEOUT, directory=environment)
            if tried.returncode != 0:
                return [_reason(tried.stderr) or "python"]
        found = programs.run([python, "-I", "-c", _FIND, *MODULES], check=False, timeout=60)
    except FamilyError:
        return ["python"]
    if found.returncode != 0:
        return ["python"]
    lacking = [MODULES[name] for name in found.stdout.split() if name in MODULES]
    if not lacking and not (environment / "bin" / "jupyterhub-singleuser").exists():
        lacking = ["jupyterhub-singleuser"]
    return lacking


def _reason(stderr: str) -> str:
    """Why an import failed: the first error, which is the cause, and the last, where it is another one.

    What stands last may be advice (jupyterhub's "pip install jupyterlab"), and not true.
    """
    raised = [line for line in stderr.split("\n") if _RAISED.match(line)] or [stderr]
    reported = dict.fromkeys(programs.last_lines(line, 1) for line in (raised[0], raised[-1]))
    return "; ".join(reported)


def places(environment: Path) -> list[str]:
    """Import all that a server needs, and return the directories below `environment` in which Python has looked for it.

    Outer ones come first. Raises FamilyError when the import fails, or finds a module in another place than
    `missing` would.
    """
    python = environment / "bin" / "python"
    # -B: whoever only looks writes nothing; a compiled file more would make it unlike all others.
    done = programs.run([python, "-B", "-c", _WATCH, *MODULES], timeout=TIMEOUT, directory=environment)
    opened, listed, modules = json.loads(done.stdout.splitlines()[-1])
    site = f"{environment}/lib/"
    if not all(module.startswith(site) for module in modules):
        raise FamilyError(_("the template could not be tried"))
    # Python names its own current directory "" or ".".
    looked = {os.path.join(environment, one) for one in listed} | {os.path.dirname(one) for one in opened}
    found, known = set(ALWAYS), {"", ".", ".."}
    for place in set(map(os.path.normpath, looked)):
        relative = os.path.relpath(place, environment)
        while relative not in known and not relative.startswith("../"):
            # Of what is not there its absence counts, which the directory around it tells.
            if os.path.isdir(os.path.join(environment, relative)):
                found.add(relative)
            # What is around it is known as well then.
            known.add(relative)
            relative = os.path.dirname(relative)
    return sorted(found)
