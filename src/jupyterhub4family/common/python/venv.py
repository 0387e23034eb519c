"""Any identity: makes a venv that holds exactly what a lock file says, for hub, template and, in need, a member."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.python import addresses, offline
from jupyterhub4family.common.python import uv as python_uv
from jupyterhub4family.common.system import disk_space, programs
from jupyterhub4family.common.system.programs import Arg, ProgramError

#: Seconds; long enough for a slow line (4 Mbit/s takes ten minutes for everything).
FETCH_TIMEOUT = 3600
#: Seconds: two processors of 2023 need six, an old one with a slow disk some minutes.
COMPILE_TIMEOUT = 1800


def make_environment(
    uv: Arg,
    environment: Path,
    lock: Path,
    what: str,
    cache: Path,
    *,
    report: Callable[[str], None] = lambda _message: None,
) -> None:
    """Make a relocatable venv at `environment`; every hash is checked, nothing is built from source.

    `what` names it in errors; fetched packages are kept in `cache`; `report` is told when it takes the longer way.
    Nothing is compiled to bytecode (`compile_bytecode`). Raises ProgramError.
    """
    variables = {**python_uv.uv_environment(), "UV_CACHE_DIR": str(cache), "HOME": str(cache)}
    venv: list[Arg] = [uv, "venv", "--quiet", "--relocatable", "--python", paths.SYSTEM_PYTHON, environment]
    programs.run(venv, environment=variables, timeout=120, dies_with_us=True)
    sync: list[Arg] = [uv, "pip", "sync", "--quiet", "--python", environment / "bin" / "python"]
    strict: list[Arg] = ["--require-hashes", "--no-build", "--link-mode", "hardlink"]
    # What was brought along comes first; it needs no address.
    *brought, registry = offline.wheel_sources()
    try:
        if brought and _is_served(sync, [*strict, lock], brought, variables):
            return
        addressed = addresses.write_lock(uv, lock, cache, variables)
        offline.run_with_sources(sync, [*strict, *addressed], [registry], variables, FETCH_TIMEOUT)
    except ProgramError as error:
        if disk_space.says_full(error.message):
            raise ProgramError(_("{what} could not be fetched: {reason}", what=what, reason=error.message)) from error
        reason = " ".join(error.message.split())[:200]
        report(_("Fetching {what} the longer way, because of this: {reason}", what=what, reason=reason))
    else:
        return
    try:
        offline.run_with_sources(sync, [*strict, lock], [registry], variables, FETCH_TIMEOUT)
    except ProgramError as error:
        raise ProgramError(_("{what} could not be fetched: {reason}", what=what, reason=error.message)) from error


def compile_bytecode(uv: Arg, environment: Path, cache: Path) -> None:
    """Compile what an environment's packages consist of, but for what is compiled already. Raises ProgramError.

    uv compiles where it installs, on all processors: here it is asked for what is there. Nothing is fetched, so no
    setting of the machine's matters.
    """
    variables = {"UV_CACHE_DIR": str(cache), "HOME": str(cache), "NO_COLOR": "1"}
    about: list[Arg] = ["--quiet", "--no-config", "--offline", "--python", environment / "bin" / "python"]
    installed = programs.run([uv, "pip", "freeze", *about], environment=variables, timeout=120, dies_with_us=True)
    sync: list[Arg] = [uv, "pip", "sync", *about, "--no-index", "--compile-bytecode", "-"]
    programs.run(sync, text_input=installed.stdout, environment=variables, timeout=COMPILE_TIMEOUT, dies_with_us=True)


def _is_served(before: list[Arg], after: list[Arg], sources: list[list[Arg]], variables: dict[str, str]) -> bool:
    """Whether packages that were brought along serve: those of an older version do not serve a newer lock.

    Raises ProgramError when the disk is full.
    """
    try:
        offline.run_with_sources(before, after, sources, variables, FETCH_TIMEOUT)
    except ProgramError as error:
        if disk_space.says_full(error.message):
            raise
        return False
    return True
