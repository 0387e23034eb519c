"""user.packages: what is in a venv, told from its files alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import pytest

from jupyterhub4family.user import installed_packages
from tests.unit.user.template import Home, add_package, site_of


@pytest.fixture
def env(home: Home) -> Path:
    """A venv that a test may change."""
    return home.own_template()


def test_names_are_those_of_pypi(env: Path) -> None:
    before = installed_packages.installed(env)
    add_package(env, "Foo_Bar.baz", "1.0")
    add_package(env, "zope.interface", "6.0+local")
    new = {name: version for name, version in installed_packages.installed(env).items() if name not in before}
    assert new == {"foo-bar-baz": "1.0", "zope-interface": "6.0+local"}


def test_half_of_a_package_is_none(env: Path) -> None:
    before = installed_packages.installed(env)
    for name in ("half-1.0.dist-info", "noversion.dist-info", "-1.0.dist-info"):
        (site_of(env) / name).mkdir()
    (site_of(env) / "~umpy-1.0.dist-info").mkdir()
    assert installed_packages.installed(env) == before


def test_no_venv_has_no_packages(tmp_path: Path) -> None:
    assert installed_packages.installed(tmp_path) == {}
    assert installed_packages.installed(tmp_path / "missing") == {}
    assert not installed_packages.looks_complete(tmp_path)


def test_complete(env: Path) -> None:
    assert installed_packages.looks_complete(env)
    assert installed_packages.site_packages(env) == site_of(env)


@pytest.mark.parametrize(
    "name", ["jupyterhub/singleuser/__init__.py", "jupyterlab/__init__.py", "notebook/__init__.py"]
)
def test_incomplete_without_a_needed_file(env: Path, name: str) -> None:
    (site_of(env) / name).unlink()
    assert not installed_packages.looks_complete(env)


@pytest.mark.parametrize("name", ["bin/python", "bin/jupyterhub-singleuser"])
def test_incomplete_without_a_needed_program(env: Path, name: str) -> None:
    (env / name).unlink()
    assert not installed_packages.looks_complete(env)


def drop(env: Path, name: str) -> None:
    shutil.rmtree(site_of(env) / name)


CHANGES: dict[str, Callable[[Path], object]] = {
    "installed": lambda env: add_package(env, "six", "1.17"),
    "removed": lambda env: drop(env, "pip-26.0.dist-info"),
    "upgraded": lambda env: (site_of(env) / "pip-26.0.dist-info").rename(site_of(env) / "pip-27.0.dist-info"),
    "a module without a package": lambda env: (site_of(env) / "mine.py").touch(),
    "a path file": lambda env: (site_of(env) / "editable.pth").touch(),
    "a program": lambda env: (env / "bin" / "black").touch(),
    "a program removed": lambda env: (env / "bin" / "jupyterhub-singleuser").unlink(),
    "all programs removed": lambda env: shutil.rmtree(env / "bin"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_the_fingerprint_sees_what_a_member_changes(env: Path, change: Callable[[Path], object]) -> None:
    before = installed_packages.fingerprint(env)
    assert installed_packages.fingerprint(env) == before
    change(env)
    assert installed_packages.fingerprint(env) != before


def test_the_fingerprint_does_not_see_what_running_leaves(env: Path) -> None:
    before = installed_packages.fingerprint(env)
    (site_of(env) / "__pycache__").mkdir()
    (site_of(env) / "jupyterlab" / "__pycache__").mkdir()
    (env / "etc").mkdir()
    assert installed_packages.fingerprint(env) == before
