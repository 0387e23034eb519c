"""A small template and a home, for tests of members' environments: real venvs, with packages that are nearly empty."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.paths import COMPLETE_MARKER, MEMBER_ENVIRONMENT
from jupyterhub4family.user import environment
from tests.unit.helpers import account, write_program

#: Modules of the packages that a server needs, as in the real template.
MODULES = """
    jupyterhub/__init__ jupyterhub/singleuser/__init__ jupyterhub/singleuser/app jupyterlab/__init__ jupyterlab/labapp
    notebook/__init__ notebook/app ipykernel/__init__ ipykernel/kernelapp pip/__init__
""".split()
TEMPLATE_ID = "py3.11-aaaaaaaaaaaa"
PACKAGES = {"jupyterhub": "6.1.1", "jupyterlab": "4.6.6", "notebook": "7.6.5", "ipykernel": "7.0", "pip": "26.0"}


def make_template(directory: Path) -> Path:
    """A template as the service builds one; returns its `env`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory / "env")], check=True, timeout=60)
    for name in ("activate", "activate.csh", "activate.fish", "Activate.ps1"):
        (directory / "env" / "bin" / name).unlink()
    site = site_of(directory / "env")
    for name in MODULES:
        (site / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (site / f"{name}.py").write_text(f"# {name}\n", "utf-8")
    for name, version in PACKAGES.items():
        add_package(directory / "env", name, version, with_module=False)
    write_program(directory / "env" / "bin" / "jupyterhub-singleuser", "", interpreter="/bin/sh")
    (directory / "env" / "share").mkdir()
    (directory / "env" / "share" / "link").symlink_to("../pyvenv.cfg")
    (directory / "size").write_text("1000000", "ascii")
    (directory / COMPLETE_MARKER).touch()
    return directory / "env"


def site_of(env: Path) -> Path:
    """The folder of packages of a venv, found in another way than the code does."""
    (site,) = env.glob("lib/python3*/site-packages")
    return site


def add_package(env: Path, name: str, version: str, with_module: bool = True) -> None:
    """What pip leaves of a package that it has installed."""
    site = site_of(env)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", "utf-8")
    if with_module:
        (site / name).mkdir()
        (site / name / "__init__.py").write_text("", "utf-8")


def tree(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Every name below `directory` with mode, size and target, to see whether anything changed."""
    found = {}
    for path in directory.rglob("*"):
        status = path.lstat()
        target = os.readlink(path) if path.is_symlink() else ""
        if "__pycache__" not in path.parts:
            size = 0 if path.is_dir() else status.st_size
            found[str(path.relative_to(directory))] = (status.st_mode, size, target)
    return found


def remove(*names: str) -> Callable[[Path], None]:
    """What takes these files and folders out of a venv; `site/` stands for its packages."""

    def do(env: Path) -> None:
        for name in names:
            path = site_of(env) / name[5:] if name.startswith("site/") else env / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    return do


class Home:
    """A member's home, and a service that has a template."""

    def __init__(self, directory: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service = directory / "service"
        self.home = directory / "anna"
        self.home.mkdir()
        (self.home / "work.ipynb").write_text("precious", "utf-8")
        self.member = account("anna", os.getuid(), home=self.home)
        self.env = self.home / MEMBER_ENVIRONMENT
        self.uv_log = directory / "uv.log"
        self.events: list[tuple[int, str]] = []
        (self.service / "templates").mkdir(parents=True)
        self.point(str(template.parent))
        monkeypatch.setattr(paths, "CURRENT_TEMPLATE", self.service / "templates" / "current")
        monkeypatch.setattr(paths, "CURRENT_RELEASE", self.service / "releases" / "current")
        # Without this folder there are no hard links: the door is root's, and tried out on real machines.
        monkeypatch.setattr(paths, "STAGING", self.service / "handover")

    @property
    def template(self) -> Path:
        return (self.service / "templates" / "current").resolve() / "env"

    def point(self, name: str) -> None:
        link = self.service / "templates" / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(name)

    def own_template(self) -> Path:
        """The template, for a test that changes it: the other one is everybody's."""
        shutil.copytree(self.template.parent, self.service / "templates" / TEMPLATE_ID, symlinks=True)
        self.point(TEMPLATE_ID)
        return self.template

    def new_template(self, name: str = "py3.11-bbbbbbbbbbbb") -> None:
        """The service has built another one, with a newer JupyterLab."""
        shutil.copytree(self.template.parent, self.service / "templates" / name, symlinks=True)
        self.point(name)
        site = site_of(self.template)
        (site / "jupyterlab-4.6.6.dist-info").rename(site / "jupyterlab-4.7.0.dist-info")

    def uv(self, script: str) -> None:
        """A `uv` of the release that writes down its words, one line per call, then runs `script`."""
        note = f'echo "$@" >> {self.uv_log}\n'
        write_program(self.service / "releases/current/uv/bin/uv", note + script, interpreter="/bin/sh")

    def uv_calls(self) -> list[str]:
        """What `uv` was asked to install, call by call."""
        lines = self.uv_log.read_text("utf-8").splitlines() if self.uv_log.exists() else []
        return [line.split(" bin/python ", 1)[-1].split("/bin/python ", 1)[-1] for line in lines]

    def prepare(self, **more: Any) -> str:
        self.events.clear()
        return environment.prepare(self.member, lambda percent, message: self.events.append((percent, message)), **more)

    def beside(self) -> set[str]:
        """What lies beside the environment, apart from itself and the lock."""
        return {path.name for path in self.env.parent.iterdir()} - {"env", "lock"}

    def works(self) -> bool:
        """Whether Python of the environment runs and finds everything there, and only there."""
        code = "import jupyterhub.singleuser.app, jupyterlab, notebook, sys; print(jupyterlab.__file__, sys.prefix)"
        args = [str(self.env / "bin" / "python"), "-I", "-c", code]
        done = subprocess.run(args, capture_output=True, encoding="utf-8", check=False)
        return done.returncode == 0 and done.stdout.count(str(self.env)) == 2
