"""Runs inside JupyterHub's process, as `jupyterhub`: begins it without modules that a hub of ours does not need.

No file of JupyterHub's is changed. While its modules are loaded, four packages are represented by stand-ins that hold
nothing, which are gone afterwards: whoever imports one of the packages later gets the real one. What JupyterHub itself
does with them comes about when it is asked for (docs/adr/0032):

- alembic (and mako): JupyterHub asks it twice at each start whether the database has the newest form. Here the form is
  compared with the names in JupyterHub's files, and alembic is asked if they differ.
- pydantic: for the requests of somebody who shares a server; loaded with the first of them.
- cryptography: for what authenticators have encrypted, which ours does not; loaded for the expert who has it done.
- isoduration (and arrow): the schemas of JupyterHub's events have no durations.

Should anything of that fail, the plain program takes this one's place.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

#: Lines of JupyterHub's files that bring a database from one form to the next.
_REVISION = re.compile(r"^(revision|down_revision) *= *(?:'(\w+)'|\"(\w+)\"|None) *$", re.MULTILINE)


def main() -> int:
    """Become JupyterHub; the arguments are those of its own program, which is the first of them."""
    del sys.argv[0]
    try:
        jupyterhub = import_lean()
    except Exception as error:  # whatever it is: the hub has to run
        print(f"starting the hub with all its modules: {error!r}", flush=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    jupyterhub()
    return 0


def import_lean() -> Callable[[], object]:
    """Import JupyterHub without the four packages, and return its `main`.

    Raises what goes wrong; then it has to be begun anew, in another process.
    """
    stand_ins = {**_alembic(), **_pydantic(), **_cryptography(), "isoduration": None}
    present = sorted(name for name in stand_ins if name in sys.modules)
    if present:
        raise ImportError(f"{present} are there already")
    sys.modules.update(stand_ins)  # type: ignore[arg-type]  # None: there is no such module
    try:
        from jupyterhub import app, crypto, orm
        from jupyterhub.apihandlers import shares
    finally:
        for name in stand_ins:
            del sys.modules[name]
    if (orm.ScriptDirectory, shares.BaseModel, crypto.InvalidToken) != (None, _Model, _InvalidToken):
        raise ImportError("this JupyterHub is another one than was tried out")
    plain = orm.check_db_revision

    def check_db_revision(engine: Any) -> None:
        """As JupyterHub's own, which is asked unless everything is as it should be."""
        if _revision(engine) != head_revision():
            import alembic.command
            import alembic.config
            from alembic.script import ScriptDirectory

            orm.alembic, orm.ScriptDirectory = alembic, ScriptDirectory
            plain(engine)

    orm.check_db_revision = check_db_revision
    main: Callable[[], object] = app.main
    return main


# -- the form of the database ------------------------------------------------------------------------


def _alembic() -> dict[str, types.ModuleType]:
    """What orm.py imports; it is used in `check_db_revision` only."""
    modules = {name: types.ModuleType(name) for name in ("alembic", "alembic.command", "alembic.config")}
    script = types.ModuleType("alembic.script")
    script.ScriptDirectory = None  # type: ignore[attr-defined]
    modules["alembic"].__path__ = []  # a package
    return {**modules, "alembic.script": script}


def head_revision(directory: Optional[Path] = None) -> str:
    """The newest form of the database that JupyterHub knows; empty unless its files name exactly one."""
    if directory is None:
        from jupyterhub.dbutil import ALEMBIC_DIR

        directory = Path(ALEMBIC_DIR)
    found: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    files = list((directory / "versions").glob("*.py"))
    for file in files:
        for key, single, double in _REVISION.findall(file.read_text("utf-8")):
            found[key].add(single or double)
    heads = found["revision"] - found["down_revision"]
    # A form that follows two others is written otherwise, so one of the lines is missed: then alembic is asked.
    return heads.pop() if len(heads) == 1 and len(found["revision"]) == len(files) else ""


def _revision(engine: Any) -> Optional[str]:
    """The form that the database has; None if it says nothing, as one that is new."""
    from jupyterhub import orm

    try:
        with engine.connect() as connection:
            rows = connection.execute(orm.text("SELECT version_num FROM alembic_version")).all()
    except orm.exc.SQLAlchemyError:
        return None
    return str(rows[0][0]) if len(rows) == 1 else None


# -- who shares a server -----------------------------------------------------------------------------


class _Model:
    """Stands for pydantic's BaseModel."""

    def __new__(cls, *args: Any, **more: Any) -> Any:
        """An instance of the class that JupyterHub means."""
        _load_shares()
        return getattr(sys.modules[cls.__module__], cls.__name__)(*args, **more)


class _ValidationError(Exception):
    """Stands for pydantic's, which nothing can raise before it is loaded."""


def _pydantic() -> dict[str, types.ModuleType]:
    """What shares.py imports."""

    def decorator(*_args: Any, **_more: Any) -> Any:
        return lambda function: function

    module = types.ModuleType("pydantic")
    vars(module).update(
        BaseModel=_Model,
        ConfigDict=dict,
        ValidationError=_ValidationError,
        conint=lambda **_more: int,
        field_validator=decorator,
        model_validator=decorator,
    )
    return {"pydantic": module}


def _load_shares() -> None:
    """Have the module's classes of requests be what they are with pydantic.

    The handlers that the hub has registered look for them in the module, and find the new ones.
    """
    from jupyterhub.apihandlers import shares

    importlib.reload(shares)


# -- what is encrypted -------------------------------------------------------------------------------


class _InvalidToken(Exception):
    """Stands for cryptography's, which nothing can raise before it is loaded."""


def _cryptography() -> dict[str, types.ModuleType]:
    """What crypto.py imports."""
    package, fernet = types.ModuleType("cryptography"), types.ModuleType("cryptography.fernet")
    package.__path__ = []
    vars(fernet).update(
        Fernet=lambda *args: _load_fernet().Fernet(*args),
        MultiFernet=lambda *args: _load_fernet().MultiFernet(*args),
        InvalidToken=_InvalidToken,
    )
    return {"cryptography": package, "cryptography.fernet": fernet}


def _load_fernet() -> Any:
    """Have JupyterHub's modules know the real error from now on; whoever decrypts has called this before."""
    import jupyterhub.user
    from cryptography import fernet
    from jupyterhub import crypto

    for module in (crypto, jupyterhub.user):
        if module.InvalidToken is _InvalidToken:
            module.InvalidToken = fernet.InvalidToken
    return fernet
