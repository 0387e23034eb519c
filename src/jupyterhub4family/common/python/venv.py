"""Any identity: makes a venv that holds exactly what a lock file says, for hub, template and, in need, a member."""

from __future__ import annotations

from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.python import offline
from jupyterhub4family.common.python import uv as python_uv
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Arg, ProgramError

#: Seconds; long enough for a slow line (4 Mbit/s takes ten minutes for everything).
FETCH_TIMEOUT = 3600


def make_environment(uv: Arg, environment: Path, lock: Path, what: str, cache: Path) -> None:
    """Make a relocatable, byte-compiled venv at `environment`; every hash is checked, nothing is compiled from source.

    `what` names it in errors; fetched packages are kept in `cache`. Raises ProgramError.
    """
    variables = {**python_uv.uv_environment(), "UV_CACHE_DIR": str(cache), "HOME": str(cache)}
    venv: list[Arg] = [uv, "venv", "--quiet", "--relocatable", "--python", paths.SYSTEM_PYTHON, environment]
    programs.run(venv, environment=variables, timeout=120, dies_with_us=True)
    sync: list[Arg] = [uv, "pip", "sync", "--quiet", "--python", environment / "bin" / "python"]
    strict: list[Arg] = ["--require-hashes", "--no-build", "--link-mode", "hardlink", "--compile-bytecode", lock]
    try:
        offline.run_with_sources(sync, strict, offline.wheel_sources(), variables, FETCH_TIMEOUT)
    except ProgramError as error:
        raise ProgramError(_("{what} could not be fetched: {reason}", what=what, reason=error.message)) from error
