"""Runs as the member, inside the mediator or their own command: makes, follows, mends the member's environment.

The environment is an ordinary venv below the member's home. It is made when it is missing, and mended when
jupyterhub-singleuser, jupyterlab or notebook is missing from it or its Python no longer runs. One that the
member never changed follows the template; one that was changed is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.python import trial
from jupyterhub4family.common.python import uv as python_uv
from jupyterhub4family.common.system import disk_space, files, programs
from jupyterhub4family.common.system.programs import Arg, ProgramError
from jupyterhub4family.user import copying, installed_packages

#: What was done, as the mediator answers it.
NOTHING, MADE, FOLLOWED, MENDED, UPGRADED = "nothing", "made", "followed", "mended", "upgraded"
#: So often a package is looked for that was in a backup.
PACKAGE_TRIES = 3
STATE_FILE = paths.MEMBER_ENVIRONMENT_NOTE
#: Bytes; it names some hundred packages. Root may wait for what comes of it (`doctor`, `env status`).
MAXIMUM_SIZE = 1024 * 1024


@records.dataclass(frozen=True)
class Condition:
    """What an environment is like."""

    exists: bool
    missing: list[str]
    #: Whether the member has installed, removed, up- or downgraded anything since it was made.
    changed: bool
    #: Whether the service has a newer template than the one it was made from.
    outdated: bool


def home_environment(member: pwd.struct_passwd) -> Path:
    """Where the member's environment lies."""
    return Path(member.pw_dir) / paths.MEMBER_ENVIRONMENT


def examine(environment: Path, thorough: bool = False) -> Condition:
    """Look at an environment; `thorough` imports everything that a server needs, which takes seconds."""
    if not environment.is_dir():
        return Condition(False, [], False, False)
    state = _read_state(environment)
    template = copying.template_id()
    return Condition(
        exists=True,
        missing=missing_programs(environment, thorough),
        changed=state.get("fingerprint") != installed_packages.fingerprint(environment) if state else True,
        outdated=bool(template) and state.get("template") != template,
    )


def how_made(environment: Path) -> str:
    """By what means the environment was made; empty if it is none of ours."""
    return str(_read_state(environment).get("how", ""))


def made_from(member: pwd.struct_passwd) -> str:
    """The id of the template that the member's environment was made from; empty if that is not known."""
    return str(_read_state(home_environment(member)).get("template", ""))


def prepare(
    member: pwd.struct_passwd,
    progress: ProgressCallback,
    thorough: bool = False,
    before_work: Callable[[], None] = lambda: None,
) -> str:
    """Make sure that the member has an environment in which a server starts; say what was done.

    Raises FamilyError with the reason when it cannot be done; then what was there before is there still. `before_work`
    is called before anything is fetched or run, and may raise: what is in an environment is the service's.
    """
    environment = home_environment(member)
    with changing(member):
        if not thorough and _is_settled(member, environment):
            return NOTHING
        before_work()
        done = _make_sure(environment, progress, thorough)
        _install_pending_packages(member, environment, progress)
        return done


def is_ready(member: pwd.struct_passwd) -> bool:
    """Whether `prepare` would do nothing at all, not even wait or tidy up; nothing is changed to find out.

    An environment that is being changed just now is not ready, and neither is one beside which there are leftovers.
    """
    environment = home_environment(member)
    leftovers = (_unfinished(environment), _discarded(environment))
    if any(os.path.lexists(one) for one in leftovers):
        return False
    try:
        lock = files.take_lock(_lock(environment), wait=False)
    except OSError:
        return False
    if lock is None:
        return False
    try:
        return _is_settled(member, environment)
    finally:
        os.close(lock)


def _is_settled(member: pwd.struct_passwd, environment: Path) -> bool:
    """Whether there is nothing to do, as its files say; nothing is run to find out."""
    pending = (Path(member.pw_dir) / paths.MEMBER_PENDING_PACKAGES).exists()
    if pending or not installed_packages.looks_complete(environment):
        return False
    state, template = _read_state(environment), copying.template_id()
    if not state or not template or state.get("template") == template:
        return True
    # One that was changed is left alone.
    return state.get("fingerprint") != installed_packages.fingerprint(environment)


def _make_sure(environment: Path, progress: ProgressCallback, thorough: bool) -> str:
    condition = examine(environment, thorough)
    if not condition.exists:
        progress(5, _("Making your own environment (only this first time)"))
        _replace(environment, progress, keep_old=False)
        progress(100, _("Your environment is ready"))
        return MADE
    if condition.missing:
        missing = ", ".join(condition.missing)
        progress(5, _("Repairing your environment: {packages} missing or broken", packages=missing))
        rebuild(environment, progress)
        return MENDED
    if condition.outdated and not condition.changed:
        progress(5, _("Bringing your environment up to date"))
        _replace(environment, progress, keep_old=False)
        progress(100, _("Your environment is up to date"))
        return FOLLOWED
    return NOTHING


def _install_pending_packages(member: pwd.struct_passwd, environment: Path, progress: ProgressCallback) -> None:
    """Install the packages that a restore has noted (user/import_restored.py) and that are not there yet.

    What cannot be had, without internet for instance, is tried again at the next start, a few times.
    """
    file = Path(member.pw_dir) / paths.MEMBER_PENDING_PACKAGES
    requirements = files.read_json(file, MAXIMUM_SIZE)
    try:
        wanted, tries = dict(requirements["packages"]), int(requirements["tries"]) + 1
    except (ValueError, KeyError, TypeError, OverflowError):
        return
    there = installed_packages.installed(environment)
    missing = {str(name): str(version) for name, version in wanted.items() if name not in there}
    # The environment itself is ready, and a bar that goes back would say something else.
    lost = _install_extras(environment, missing, lambda _percent, message: progress(100, message))
    if lost:
        progress(100, _("These packages from your backup are unavailable: {packages}", packages=", ".join(lost)))
    if lost and tries < PACKAGE_TRIES:
        left = {name: missing[name] for name in lost}
        file.write_text(json.dumps({"packages": left, "tries": tries}) + "\n", "utf-8")
    else:
        file.unlink()


def rebuild(environment: Path, progress: ProgressCallback, with_extras: bool = True) -> list[str]:
    """Put the environment aside and a fresh one in its place, with the member's extra packages in it.

    Returns the names of the packages that could not be kept. Raises FamilyError; the old one is then in place.
    """
    extras = extra_packages(environment) if with_extras else {}
    lost = _replace(environment, progress, keep_old=True, extras=extras)
    if lost:
        message = _(
            "Your environment was rebuilt without {packages}, unavailable now. The old one is beside it, in "
            "env.aside-…",
            packages=", ".join(lost),
        )
    elif extras:
        message = _("Your environment was rebuilt, keeping your own packages. The old one is beside it, in env.aside-…")
    else:
        message = _("Your environment was rebuilt. The old one is beside it, in env.aside-…")
    progress(100, message)
    return lost


def extra_packages(environment: Path) -> dict[str, str]:
    """Names and versions of what the member installed beyond the template it was made from, or the one in use."""
    state = _read_state(environment)
    ours = state.get("packages") or installed_packages.installed(paths.CURRENT_TEMPLATE.resolve() / "env")
    return {name: version for name, version in installed_packages.installed(environment).items() if name not in ours}


def missing_programs(environment: Path, thorough: bool = False) -> list[str]:
    """What a server needs and `environment` lacks: names of packages, or `python` if that does not run."""
    if installed_packages.looks_complete(environment) and not thorough:
        return []
    return trial.missing(environment, imports=thorough)


def _replace(
    environment: Path, progress: ProgressCallback, keep_old: bool, extras: dict[str, str] | None = None
) -> list[str]:
    """Make a fresh environment beside the old one, then change places. Returns the extras that could not be had."""
    staging = _unfinished(environment)
    how = copying.copy_template(staging, progress)
    # Noted before the extras come: they are what makes it a changed one.
    _write_state(staging, how)
    lost = _install_extras(staging, extras or {}, progress)
    if environment.exists() or environment.is_symlink():
        _move_to_backup(environment, keep_old)
    staging.rename(environment)
    _remove_discarded(environment)
    return lost


def _move_to_backup(environment: Path, keep_copy: bool) -> None:
    """Move the old environment out of the way; only the newest of those that are kept stays."""
    if not keep_copy:
        environment.rename(_discarded(environment))
        return
    for older in environment.parent.glob("env.aside-*"):
        copying.remove_tree(older)
    environment.rename(environment.with_name(time.strftime("env.aside-%Y%m%d-%H%M%S")))


def _write_state(environment: Path, how: str) -> None:
    state = {
        "template": copying.template_id(),
        "how": how,
        "made": int(time.time()),
        "fingerprint": installed_packages.fingerprint(environment),
        "packages": installed_packages.installed(environment),
    }
    (environment / STATE_FILE).write_text(json.dumps(state, indent=1) + "\n", "utf-8")


def _read_state(environment: Path) -> dict[str, Any]:
    state = files.read_json(environment / STATE_FILE, MAXIMUM_SIZE)
    return state if isinstance(state, dict) else {}


def _install_extras(environment: Path, extras: dict[str, str], progress: ProgressCallback) -> list[str]:
    """Install `extras`; all at once if that works, else one by one. Returns the names that could not be had."""
    if not extras:
        return []
    progress(85, _("Installing your own packages: {packages}", packages=", ".join(sorted(extras))[:200]))
    requirements = [f"{name}=={version}" for name, version in sorted(extras.items())]
    if _uv_install(environment, requirements):
        return []
    # A version may not exist for a newer Python: any version is better than none.
    return [name for name in sorted(extras) if not _uv_install(environment, [name])]


def _uv_install(environment: Path, requirements: list[str]) -> bool:
    uv = paths.CURRENT_RELEASE / paths.UV
    into: list[Arg] = ["--python", environment / "bin" / "python"]
    args: list[Arg] = [uv, "pip", "install", "--quiet", "--no-cache", *into, *requirements]
    try:
        return programs.run(args, check=False, timeout=600, environment=python_uv.uv_environment()).returncode == 0
    except ProgramError:
        return False  # uv is missing or takes too long: a server without the extras is better than none


def _unfinished(environment: Path) -> Path:
    return environment.with_name("env.unfinished")


def _discarded(environment: Path) -> Path:
    return environment.with_name("env.doomed")


def _lock(environment: Path) -> Path:
    return environment.with_name("lock")


def _remove_discarded(environment: Path) -> None:
    with contextlib.suppress(OSError):
        copying.remove_tree(_discarded(environment))


@contextlib.contextmanager
def changing(member: pwd.struct_passwd) -> Iterator[None]:
    """Hold the member's environment for a change: one change at a time, leftovers gone, errors as sentences."""
    environment = home_environment(member)
    if not Path(member.pw_dir).is_dir():
        raise FamilyError(
            _("the home folder {directory} is missing", directory=member.pw_dir),
            _("ask the person who looks after this machine"),
        )
    try:
        environment.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Two servers of one member starting at once must not make the environment twice.
        with files.locked(_lock(environment)):
            # What an earlier, interrupted try left behind is never used.
            copying.remove_tree(_unfinished(environment))
            _remove_discarded(environment)
            try:
                yield
            except BaseException:
                with contextlib.suppress(OSError):
                    copying.remove_tree(_unfinished(environment))
                raise
    except OSError as error:  # shutil.Error, too
        raise _as_error(error, environment) from error


def _as_error(error: Exception, environment: Path) -> FamilyError:
    # shutil.Error holds (source, target, reason) for every file that failed, the reason as text.
    if disk_space.is_full(error):
        return copying.disk_full(environment.parent, _("no space was left"))
    return FamilyError(
        _("the environment could not be made: {reason}", reason=programs.last_lines(str(error), 3)[-600:])
    )
