"""An environment with the real JupyterHub of the test tools, and small packages in place of what is not among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Optional

import jupyterhub

from tests.unit.helpers import SRC, TIMEOUT

START = SRC / "jupyterhub4family" / "lean" / "start.py"
#: As pip writes it.
PROGRAM = """#!/nowhere/python
# -*- coding: utf-8 -*-
import sys
from jupyterhub.singleuser import main
if __name__ == "__main__":
    if sys.argv[0].endswith("-script.pyw"):
        sys.argv[0] = sys.argv[0][:-11]
    sys.exit(main())
"""
#: What JupyterHub's extension for servers needs of jupyter_server; its `launch_instance` runs the test's probe.
_SERVER = {
    "jupyter_server/__init__.py": '__version__ = "2.21.1"',
    "jupyter_server/auth/__init__.py": """
from traitlets.config import LoggingConfigurable
from .decorator import allow_unauthenticated
class Authorizer(LoggingConfigurable): pass
class IdentityProvider(LoggingConfigurable): pass
class User:
    def __init__(self, **known): self.__dict__.update(known)
""",
    "jupyter_server/auth/decorator.py": "def allow_unauthenticated(method): return method",
    "jupyter_server/auth/logout.py": "import tornado.web\nclass LogoutHandler(tornado.web.RequestHandler): pass",
    "jupyter_server/extension/__init__.py": "",
    "jupyter_server/extension/application.py": """
import os
from traitlets.config import Application
class ExtensionApp(Application):
    @classmethod
    def launch_instance(cls):
        found = {}
        exec(os.environ["PROBE"], found)
        print("FOUND", __import__("json").dumps(found["result"]), flush=True)
        return found.get("status", 0)
    @classmethod
    def make_serverapp(cls, **more): raise NotImplementedError
""",
}
#: JupyterLab as it asks for what is heavy, and that, which says when it runs.
_LAB = {
    "jupyterlab/__init__.py": "",
    "jupyterlab/labapp.py": """
import httpx, requests
from jupyterlab.semver import gte
client = httpx.AsyncClient(limit=3)
""",
    "jupyterlab/semver.py": 'print("RUNS semver")\ndef gte(one, other): return one >= other',
    "httpx.py": """
print("RUNS httpx")
__version__ = "0.28.1"
class AsyncClient:
    def __init__(self, limit): self.limit = limit
""",
    "requests.py": 'print("RUNS requests")\ndef get(): return "got"',
    "IPython/__init__.py": """
print("RUNS IPython")
from .core import shell
__version__ = "9"
def get_ipython(): return None
""",
    "IPython/core.py": 'shell = "shell"',
    "IPython/paths.py": 'def get_ipython_dir(): return "/dir"',
}


class Environment:
    """An environment below `directory`; `versions` are those that its packages say they have."""

    def __init__(self, directory: Path, **versions: str) -> None:
        self.site = directory / "site"
        self.program = directory / "env" / "bin" / "jupyterhub-singleuser"
        self.program.parent.mkdir(parents=True)
        self.program.write_text(PROGRAM, "utf-8")
        for name, text in {**_SERVER, **_LAB}.items():
            (self.site / name).parent.mkdir(parents=True, exist_ok=True)
            (self.site / name).write_text(text + "\n", "utf-8")
        (self.site / "jupyterhub").symlink_to(Path(jupyterhub.__file__).parent)
        self.versions = {
            "jupyterhub": jupyterhub.__version__,
            "jupyterlab": "4.6.6",
            "jupyter_server": "2.21.1",
            **versions,
        }
        for name, version in self.versions.items():
            if version:
                (self.site / f"{name}-{version}.dist-info").mkdir()

    def write(self, name: str, text: str) -> None:
        """Another content of a file of the packages."""
        (self.site / name).write_text(text + "\n", "utf-8")

    def run(self, probe: str, *arguments: str, plain: bool = False, log: Optional[IO[bytes]] = None) -> Outcome:
        """Start the server; in place of serving, it runs `probe`, which sets `result`. A `log` is not read."""
        first = [] if plain else [str(START)]
        done = subprocess.run(
            [sys.executable, *first, str(self.program), *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.site.parent),
                "PYTHONPATH": str(self.site),
                "PROBE": probe,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else log,
            text=True,
            timeout=4 * TIMEOUT,
            check=False,
        )
        return Outcome(done)


class Outcome:
    """What a server has found, and what stands in its log."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.log = done.returncode, done.stderr or ""
        lines = done.stdout.splitlines()
        found = [line.removeprefix("FOUND ") for line in lines if line.startswith("FOUND ")]
        assert len(found) == 1, done.stdout + self.log
        self.result: Any = json.loads(found[0])
        #: The packages that ran before the probe's end, in their order.
        self.runs = [line.removeprefix("RUNS ") for line in lines if line.startswith("RUNS ")]

    @property
    def is_plain(self) -> bool:
        """Whether the log says that the server fell back."""
        return "plain, not lean" in self.log
