"""common.python.likeness and trial: what an import would tell of an environment's files a comparison does, too."""

from __future__ import annotations

import _ctypes
import os
import shutil
from pathlib import Path
from typing import Callable

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.python import likeness, trial
from tests.unit.helpers import write_program
from tests.unit.user.template import TEMPLATE_ID, make_template, site_of

TEMPLATE_MODULES = ("jupyterhub", "jupyterlab", "notebook", "ipykernel")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template's `env`; each test that changes files changes them in a copy of its own."""
    return make_template(tmp_path_factory.mktemp("template") / TEMPLATE_ID)


class Pair:
    """A template, what is noted of it, and a member's environment of hard links to it, as the door makes one."""

    def __init__(self, template: Path, directory: Path) -> None:
        self.template = directory / "template"
        shutil.copytree(template, self.template, symlinks=True)
        for path in self.template.rglob("*.py"):
            path.chmod(0o644)
        self.places = trial.places(self.template)
        self.expected = likeness.of(self.template, self.places)
        self.env = directory / "env"
        shutil.copytree(self.template, self.env, symlinks=True, copy_function=os.link)
        (self.env / paths.MEMBER_ENVIRONMENT_NOTE).write_text("{}", "utf-8")
        self.site = site_of(self.env)

    def is_like(self) -> bool:
        """What is said of the environment."""
        try:
            return likeness.of(self.env, self.places) == self.expected
        except OSError:
            return False


@pytest.fixture
def pair(template: Path, tmp_path: Path) -> Pair:
    return Pair(template, tmp_path)


def test_hard_links_are_alike(pair: Pair) -> None:
    assert pair.is_like()
    assert pair.is_like(), "nothing is changed by looking"
    assert {"", "bin", "lib"} <= set(pair.places)
    site = os.path.relpath(pair.site, pair.env)
    assert {site, *(f"{site}/{name}" for name in TEMPLATE_MODULES)} <= set(pair.places)


def test_trying_a_template_writes_nothing(pair: Pair) -> None:
    before = {str(path) for path in pair.template.rglob("*")}
    assert not any("__pycache__" in path for path in before)
    assert trial.places(pair.template) == pair.places
    assert {str(path) for path in pair.template.rglob("*")} == before


def test_what_no_import_looks_at_does_not_count(pair: Pair) -> None:
    (pair.env / "share" / "jupyter" / "lab").mkdir(parents=True)
    assert pair.is_like()


def replaced(path: Path) -> None:
    """The same content in another file: an editor, a disk that was put right, somebody's hand."""
    shutil.copy2(path, f"{path}.new")
    os.replace(f"{path}.new", path)


#: What is done, step by step.
DAMAGE: dict[str, tuple[Callable[[Pair], object], ...]] = {
    "deleted": (lambda pair: (pair.site / "notebook/app.py").unlink(),),
    "emptied": (
        lambda pair: replaced(pair.site / "notebook/app.py"),
        lambda pair: os.truncate(pair.site / "notebook/app.py", 0),
    ),
    "replaced": (lambda pair: replaced(pair.site / "jupyterlab/labapp.py"),),
    "another's file": (lambda pair: os.replace(pair.site / "notebook/app.py", pair.site / "jupyterlab/labapp.py"),),
    "exchanged": (
        lambda pair: os.rename(pair.site / "notebook/app.py", pair.site / "x"),
        lambda pair: os.rename(pair.site / "notebook/__init__.py", pair.site / "notebook/app.py"),
        lambda pair: os.rename(pair.site / "x", pair.site / "notebook/__init__.py"),
    ),
    "a bad .pth": (lambda pair: (pair.site / "bad.pth").write_text("import no_such_module_at_all\n", "utf-8"),),
    "a package is gone": (lambda pair: shutil.rmtree(pair.site / "jupyterhub"),),
    "a package is new": (lambda pair: (pair.site / "tornado").mkdir(),),
    "a module in the way": (lambda pair: (pair.site / "jupyterlab.py").write_text("1 / 0", "utf-8"),),
    "a module in the current directory": (lambda pair: (pair.env / "notebook.py").write_text("1 / 0", "utf-8"),),
    "a link in place of a package": (
        lambda pair: (pair.site / "notebook").rename(pair.site.parent / "elsewhere"),
        lambda pair: (pair.site / "notebook").symlink_to("../elsewhere"),
    ),
    "a link in place of a file": (
        lambda pair: (pair.site / "notebook/app.py").unlink(),
        lambda pair: (pair.site / "notebook/app.py").symlink_to(pair.template / "pyvenv.cfg"),
    ),
    "python leads elsewhere": (
        lambda pair: (pair.env / "bin/python").unlink(),
        lambda pair: (pair.env / "bin/python").symlink_to("/bin/true"),
    ),
    "no program": (lambda pair: (pair.env / "bin/jupyterhub-singleuser").unlink(),),
    "no configuration of the venv": (lambda pair: replaced(pair.env / "pyvenv.cfg"),),
    "nobody may list it": (lambda pair: (pair.site / "notebook").chmod(0o300),),
    "nobody may enter it": (lambda pair: (pair.site / "notebook").chmod(0o600),),
    "nothing may be entered": (lambda pair: (pair.env / "lib").chmod(0),),
    "a pipe": (
        lambda pair: (pair.site / "notebook/app.py").unlink(),
        lambda pair: os.mkfifo(pair.site / "notebook/app.py"),
    ),
    "no environment": (lambda pair: shutil.rmtree(pair.env),),
    "another environment": (
        lambda pair: pair.env.rename(pair.env.with_name("own")),
        lambda pair: pair.env.symlink_to(pair.env.with_name("own")),
        lambda pair: replaced(pair.site / "notebook/app.py"),
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_seen(pair: Pair, damage: str) -> None:
    for step in DAMAGE[damage]:
        step(pair)
    assert not pair.is_like()
    for path in (pair.env / "lib", pair.site / "notebook"):
        if path.exists():
            path.chmod(0o755)


def test_a_copy_is_another_environment(pair: Pair, tmp_path: Path) -> None:
    """Its files are the member's own, who may have changed any: nobody says what is in them without trying."""
    shutil.rmtree(pair.env)
    shutil.copytree(pair.template, pair.env, symlinks=True)
    assert not pair.is_like()


def test_content_that_was_changed_in_place_is_the_templates_as_well(pair: Pair) -> None:
    """One file with two names: trying the template tells of all."""
    (pair.site / "notebook/app.py").write_text("import no_such_module_at_all\n", "utf-8")
    assert pair.is_like()
    with pytest.raises(FamilyError, match="no_such_module_at_all"):
        trial.places(pair.template)


@pytest.mark.parametrize("module", ["notebook/app.py", "ipykernel/kernelapp.py", "jupyterhub/singleuser/app.py"])
def test_a_template_that_does_not_work_is_no_measure(pair: Pair, module: str) -> None:
    (site_of(pair.template) / module).unlink()
    with pytest.raises(FamilyError):
        trial.places(pair.template)


def test_modules_from_elsewhere_are_no_measure(pair: Pair, tmp_path: Path) -> None:
    """A .pth that leads out of the template: what lies there nobody compares."""
    (tmp_path / "other").mkdir()
    (site_of(pair.template) / "notebook").rename(tmp_path / "other/notebook")
    (site_of(pair.template) / "other.pth").write_text(f"{tmp_path}/other\n", "utf-8")
    with pytest.raises(FamilyError):
        trial.places(pair.template)


def test_what_only_its_owner_may_read_is_no_measure(pair: Pair) -> None:
    assert likeness.is_readable_for_all(pair.template, pair.places)
    (site_of(pair.template) / "notebook/app.py").chmod(0o640)
    assert not likeness.is_readable_for_all(pair.template, pair.places)


def test_an_access_list_is_no_measure(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can shut out one member of many (setfacl -m u:anna:-)."""
    monkeypatch.setattr(os, "listxattr", lambda *_args, **_more: ["system.posix_acl_access"])
    assert not likeness.is_readable_for_all(pair.template, pair.places)


def test_where_programs_may_not_run_is_another_place(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoExec:
        f_flag = os.statvfs(pair.env).f_flag | os.ST_NOEXEC

    monkeypatch.setattr(os, "fstatvfs", lambda _descriptor: NoExec)
    assert not pair.is_like()


def test_somebody_elses_directory(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert not pair.is_like()


def test_files_that_are_looked_for_and_not_there_count(pair: Pair) -> None:
    """An import that finds something else where a directory has come."""
    (site_of(pair.template) / "notebook/app.py").write_text(
        "import os, sys\ntry: os.listdir(sys.prefix + '/etc/jupyter/extra')\nexcept OSError: pass\n", "utf-8"
    )
    (pair.template / "etc/jupyter").mkdir(parents=True)
    (pair.env / "etc/jupyter").mkdir(parents=True)
    assert "etc/jupyter" in trial.places(pair.template)


def test_a_library_that_a_module_needs_counts(pair: Pair) -> None:
    """Python itself does not look at NAME.libs, the loader does (pyzmq.libs)."""
    libraries = site_of(pair.template) / "notebook.libs"
    libraries.mkdir()
    shutil.copy(_ctypes.__file__, libraries / "lib one.so")
    (site_of(pair.template) / "notebook/app.py").write_text(
        f"import ctypes\nctypes.CDLL({str(libraries / 'lib one.so')!r})\n", "utf-8"
    )
    assert os.path.relpath(libraries, pair.template) in trial.places(pair.template)


def test_a_directory_without_end_is_like_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "LONGEST_LISTING", 1000)
    assert pair.is_like()
    for number in range(100):
        (pair.site / "notebook" / f"{number:100}").touch()
    with pytest.raises(OSError, match="long"):
        likeness.of(pair.env, pair.places)


def test_an_environment_is_tried_by_its_own_python(pair: Pair) -> None:
    assert trial.missing(pair.env, imports=True) == []
    write_program(pair.env / "bin" / "other", "exit 3\n", interpreter="/bin/sh")
    os.replace(pair.env / "bin" / "other", pair.env / "bin" / "python")
    assert trial.missing(pair.env, imports=True) == ["python"]


def test_the_cause_is_told_and_not_only_advice() -> None:
    stderr = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
ImportError: libzmq-5.so: cannot open shared object file

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
ImportError: JupyterHub needs a server. Install one with
    pip install jupyterlab
"""
    cause = "ImportError: libzmq-5.so: cannot open shared object file"
    assert trial._reason(stderr) == f"{cause}; ImportError: JupyterHub needs a server. Install one with"
    assert trial._reason(f"{cause}\n") == cause
    assert trial._reason("Killed\n") == "Killed" and trial._reason("") == ""
