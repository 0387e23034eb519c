"""Runs as the member, inside their server: imports what a server needs, and turns into its program (ADR 27).

`prepare` imports, and can be called long before anybody needs a server; `become` runs the program.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
from importlib import machinery
from types import CodeType

from jupyterhub4family.lean import deferrals, stand_ins

#: How pip and uv write the program of a package; what does something else is not ours to know.
_PROGRAM = re.compile(r"^from jupyterhub\.singleuser import main$", re.MULTILINE)
#: Bytes; those are 300.
_LONGEST_PROGRAM = 4096
#: A folder that a package leaves beside itself, with name and version.
_DIST_INFO = re.compile(r"(.+)-([^-]+)\.dist-info")
#: For gc.set_threshold: a server makes many objects that stay, and need not be looked through at each step.
_CALM = (10000, 20, 50)


class NotTested(Exception):
    """This environment is not one for which the lean start was tried."""


def prepare(program: str, ahead: bool = False) -> CodeType:
    """Import what a server needs, and nothing that only the hub needs; returns the compiled program.

    `ahead`: also what a server imports on its way until it answers, as there is time (ADR 36).

    Raises NotTested before anything has been imported; anything else (`stand_ins.Surprise` among it) in the middle of
    it: then only a new process is plain.
    """
    # What the plain program would have there.
    sys.path[0] = os.path.dirname(os.path.realpath(program))
    code = _read_program(program)
    installed = _installed_beside(deferrals.JUPYTERHUB)
    version = installed.get(deferrals.JUPYTERHUB, "without a version")
    if version not in deferrals.TESTED[deferrals.JUPYTERHUB]:
        raise NotTested(f"JupyterHub {version} has not been tried with it")
    gc.disable()
    try:
        with stand_ins.Stage(deferrals.offers_for(installed)):
            importlib.import_module("jupyterhub.singleuser")
            if installed.get("jupyterlab") in deferrals.TESTED["jupyterlab"]:
                importlib.import_module("jupyterlab.labapp")
            if ahead:
                _import_ahead(installed)
        for name in deferrals.SLEEPING:
            stand_ins.put_to_sleep(name)
        deferrals.settle()
    finally:
        # What is imported stays: it need not be looked through again.
        gc.freeze()
        gc.set_threshold(*_CALM)
        gc.enable()
    return code


def become(code: CodeType, program: str) -> None:
    """Run the program as Python would have: in `__main__`, where nothing of ours is left."""
    namespace = vars(sys.modules["__main__"])
    for name in [name for name in namespace if not (name.startswith("__") and name.endswith("__"))]:
        del namespace[name]
    namespace.update(__file__=program, __doc__=None, __loader__=machinery.SourceFileLoader("__main__", program))
    _leave_no_traces()
    exec(code, namespace)  # noqa: S102 (the member's own program, as the member)


def _read_program(path: str) -> CodeType:
    """Raises NotTested for a program that is not JupyterHub's own, OSError, SyntaxError."""
    with open(path, "rb") as file:
        source = file.read(_LONGEST_PROGRAM + 1)
    if len(source) > _LONGEST_PROGRAM or not _PROGRAM.search(source.decode("utf-8")):
        raise NotTested(f"{path} is not the program that JupyterHub brings along")
    return compile(source, path, "exec", dont_inherit=True)


def _installed_beside(package: str) -> dict[str, str]:
    """Version by name of all that is installed where `package` is; of what is there twice, none."""
    spec = machinery.PathFinder.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotTested(f"there is no {package}")
    found: dict[str, str] = {}
    for entry in os.listdir(os.path.dirname(os.path.dirname(spec.origin))):
        match = _DIST_INFO.fullmatch(entry)
        if match:
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            found[name] = "in two versions" if name in found else match[2]
    return found


def _import_ahead(installed: dict[str, str]) -> None:
    """What else is tried; all other packages are imported by the server itself, if it wants them."""
    for package, names in deferrals.AHEAD.items():
        if installed.get(package) in deferrals.TESTED[package]:
            for name in names:
                # What is missing is missed by the server itself, which says so.
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


def _leave_no_traces() -> None:
    """Our package cannot be imported: the member may have one of that name."""
    package = __name__.partition(".")[0]
    library = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
    for path in [
        path for path in sys.path_importer_cache if path == library or path.startswith(f"{library}/{package}")
    ]:
        del sys.path_importer_cache[path]
