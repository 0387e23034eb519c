"""Any identity: packages that were brought along (the .deb jupyterhub4family-offline), used before the network is.

They are checked against the same hashes as fetched ones, so nobody has to trust them more.
"""

from __future__ import annotations

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Arg, CompletedProcess, ProgramError

OFFLINE = paths.SHARE / "offline"
WHEELS = OFFLINE / "wheels"
#: A cache of npm's, as `npm ci --prefer-offline` fills it.
NPM_CACHE = OFFLINE / "npm-cache"


def wheel_sources() -> list[list[Arg]]:
    """Words for uv or pip, one list for each place to look in: the offline packages if there are any, the registry."""
    registry: list[Arg] = []
    return [["--no-index", "--find-links", WHEELS], registry] if WHEELS.is_dir() else [registry]


def run_with_sources(
    before: list[Arg], after: list[Arg], sources: list[list[Arg]], environment: dict[str, str], timeout: float
) -> CompletedProcess:
    """Run a package client, `before` + source + `after`, with each source until one serves. Raises ProgramError."""
    for number, source in enumerate(sources, 1):
        try:
            return programs.run([*before, *source, *after], environment=environment, timeout=timeout, dies_with_us=True)
        except ProgramError:
            # Offline packages of an older version do not serve a newer lock; the registry does.
            if number == len(sources):
                raise
    raise ProgramError(_("there is no source for packages"))
