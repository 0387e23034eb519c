"""Runs as the member, inside the mediator: makes and mends the member's own environment.

The environment is an ordinary venv below the member's home. It is touched only when jupyterhub-singleuser,
jupyterlab or notebook is missing from it, or when its Python no longer runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.files import locked
from jupyterhub4family.common.paths import CURRENT_RELEASE, CURRENT_TEMPLATE, MEMBER_ENVIRONMENT
from jupyterhub4family.common.programs import Word, last_lines, run
from jupyterhub4family.common.uv import uv_environment

#: Told the percentage done and a sentence.
Progress = Callable[[int, str], None]

#: What a server cannot do without: a module to be found in the environment, with what people call it.
NEEDED_MODULES = {"jupyterhub.singleuser": "jupyterhub", "jupyterlab": "jupyterlab", "notebook": "notebook"}
#: Prints those of its arguments that cannot be found, without importing what is costly to import.
_FIND = (
    "import importlib.util as u, sys\n"
    "for n in sys.argv[1:]:\n"
    "    try: found = u.find_spec(n)\n"
    "    except Exception: found = None\n"
    "    if found is None: print(n)\n"
)


def prepare(member: pwd.struct_passwd, progress: Progress) -> str:
    """Make sure that the member has an environment in which a server starts; say what was done.

    Returns `nothing`, `made` or `mended`. Raises FamilyError with the reason when it cannot be done; then
    what was there before is there still.
    """
    environment = Path(member.pw_dir) / MEMBER_ENVIRONMENT
    if not Path(member.pw_dir).is_dir():
        raise FamilyError(f"the home folder {member.pw_dir} is missing", "ask the person who looks after this machine")
    # Two servers of one member starting at once must not make the environment twice.
    with _translated_errors(environment), _locked(environment):
        _remove_unfinished(environment)
        if not environment.exists():
            progress(5, "Making your own environment (only this first time)")
            _copy_template(environment, progress)
            progress(100, "Your environment is ready")
            return "made"
        missing = whats_missing(environment)
        if not missing:
            return "nothing"
        progress(5, f"Mending your environment: {', '.join(missing)} missing or broken")
        _mend(environment, progress)
        return "mended"


def whats_missing(environment: Path) -> list[str]:
    """What a server needs and `environment` lacks: names of packages, or `python` if that does not run."""
    python = environment / "bin" / "python"
    try:
        found = run([python, "-I", "-c", _FIND, *NEEDED_MODULES], check=False, timeout=60)
    except FamilyError:
        return ["python"]
    if found.status != 0:
        return ["python"]
    missing = [NEEDED_MODULES[name] for name in found.output.split() if name in NEEDED_MODULES]
    if not missing and not (environment / "bin" / "jupyterhub-singleuser").exists():
        missing = ["jupyterhub-singleuser"]
    return missing


def _copy_template(environment: Path, progress: Progress) -> None:
    """Copy the service's template beside `environment`, then move it into place."""
    fresh = _unfinished(environment)
    source = _template()
    _check_space(source, environment.parent)
    _copy_tree(source, fresh, progress)
    fresh.rename(environment)


def _mend(environment: Path, progress: Progress) -> None:
    """Put the environment aside and a fresh one in its place, with the member's own extra packages in it."""
    extras = extra_packages(environment, _template())
    fresh = _unfinished(environment)
    _check_space(_template(), environment.parent)
    _copy_tree(_template(), fresh, progress)
    lost = _install_extras(fresh, extras, progress)
    for older in environment.parent.glob("env.aside-*"):
        shutil.rmtree(older, ignore_errors=True)
    aside = environment.with_name(time.strftime("env.aside-%Y%m%d-%H%M%S"))
    environment.rename(aside)
    fresh.rename(environment)
    kept = f" with your {len(extras) - len(lost)} extra packages" if len(extras) > len(lost) else ""
    left = f"; could not be kept: {', '.join(lost)}" if lost else ""
    progress(100, f"Your environment was made anew{kept}{left}. The old one is in {aside.name}")


def extra_packages(environment: Path, template: Path) -> dict[str, str]:
    """Names and versions of what the member installed beyond the template."""
    ours = _packages(template)
    return {name: version for name, version in _packages(environment).items() if name not in ours}


def _packages(environment: Path) -> dict[str, str]:
    """Name and version of every package in a venv, read from its .dist-info folders (PyPA: recording projects)."""
    found = {}
    for folder in environment.glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.name[: -len(".dist-info")].partition("-")
        if version and (folder / "METADATA").is_file():
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def _install_extras(environment: Path, extras: dict[str, str], progress: Progress) -> list[str]:
    """Install `extras`; all at once if that works, else one by one. Returns the names that could not be had."""
    if not extras:
        return []
    progress(85, f"Installing your extra packages: {', '.join(sorted(extras))[:200]}")
    wishes = [f"{name}=={version}" for name, version in sorted(extras.items())]
    if _uv_install(environment, wishes):
        return []
    return [name for name in sorted(extras) if not _uv_install(environment, [name])]


def _uv_install(environment: Path, wishes: list[str]) -> bool:
    uv = CURRENT_RELEASE / "uv" / "bin" / "uv"
    words: list[Word] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-cache",
        "--python",
        environment / "bin" / "python",
        *wishes,
    ]
    return run(words, check=False, timeout=600, environment=uv_environment()).status == 0


def _template() -> Path:
    template = CURRENT_TEMPLATE.resolve() / "env"
    if not (template / "bin" / "python").exists():
        raise FamilyError(
            "the template for new environments is not there yet", "wait a minute and start the server again"
        )
    return template


def _unfinished(environment: Path) -> Path:
    return environment.with_name("env.unfinished")


def _remove_unfinished(environment: Path) -> None:
    """What an earlier, interrupted try left behind is never used."""
    left = _unfinished(environment)
    if left.is_symlink() or left.is_file():
        left.unlink()
    elif left.exists():
        shutil.rmtree(left)


def _copy_tree(source: Path, target: Path, progress: Progress) -> None:
    """Copy a whole tree as it is, links as links, telling the percentage by the number of files (10 to 80)."""
    expected = max(1, sum(len(files) for _, _, files in os.walk(source)))
    done = 0
    told = 10

    def copy(one: str, other: str) -> str:
        nonlocal done, told
        shutil.copy2(one, other, follow_symlinks=False)
        done += 1
        percent = 10 + 70 * done // expected
        if percent >= told + 5:
            told = percent
            progress(percent, f"Copying {done} of {expected} files")
        return other

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def _check_space(template: Path, folder: Path) -> None:
    """Raise FamilyError when the disk has clearly no room, before anything is written."""
    needed = _size_in_bytes(template)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    # A tenth more: blocks, and room to work in afterwards.
    if free < needed * 11 // 10:
        raise _disk_full(folder, f"{needed // 2**20} MB are needed, {free // 2**20} MB are free")


def _size_in_bytes(folder: Path) -> int:
    marker = folder.parent / "size"
    try:
        return int(marker.read_text("ascii"))
    except (OSError, ValueError):
        return 500 * 2**20


def _disk_full(folder: Path, detail: str) -> FamilyError:
    return FamilyError(
        f"the disk with {folder} is full: {detail}",
        "delete what you no longer need (empty the trash), then start the server again",
        ExitStatus.DISK_FULL,
    )


@contextlib.contextmanager
def _translated_errors(environment: Path) -> Iterator[None]:
    """Turn the system's errors into sentences, and leave no half-made environment behind."""
    try:
        yield
    except (OSError, shutil.Error) as error:
        with contextlib.suppress(OSError):
            _remove_unfinished(environment)
        if _is_disk_full(error):
            raise _disk_full(environment.parent, "no space was left while copying") from error
        raise FamilyError(f"the environment could not be made: {last_lines(str(error), 3)[-600:]}") from error


def _is_disk_full(error: Exception) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    # shutil.Error holds (source, target, reason) for every file that failed, the reason as text.
    return getattr(error, "errno", None) in full or any(os.strerror(number) in str(error) for number in full)


@contextlib.contextmanager
def _locked(environment: Path) -> Iterator[None]:
    environment.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(environment.parent / "lock"):
        yield
