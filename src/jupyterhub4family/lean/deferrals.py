"""Runs as the member, inside their server: what a server does without at its start, and what stands in for it.

Each package that imports such a module is here with the versions for which this was tried: those of our locks, which
`tests/unit/lean/test_deferrals.py` compares. A package of another version imports what it likes; another JupyterHub
starts plain. Whoever changes the locks tries `tests/machine/test_lean.py` on each Debian.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any, Callable

from jupyterhub4family.lean import hub_client, stand_ins
from jupyterhub4family.lean.stand_ins import Later

#: Stand-ins by module, each with what it offers while others are imported.
Offers = dict[str, dict[str, Any]]

JUPYTERHUB = "jupyterhub"
#: Package, as Python's index calls it: the versions that were tried.
TESTED: Mapping[str, frozenset[str]] = {
    JUPYTERHUB: frozenset(("5.5.4", "6.1.1")),
    "jsonschema": frozenset(("4.25.1", "4.26.0")),
    "jupyter-client": frozenset(("8.6.3", "8.10.0")),
    "jupyter-server": frozenset(("2.18.2", "2.21.1")),
    "jupyterlab": frozenset(("4.5.11", "4.6.6")),
    # Of these only what is imported ahead was tried.
    "jupyter-lsp": frozenset(("2.3.1",)),
    "jupyter-server-terminals": frozenset(("0.5.4",)),
    "notebook": frozenset(("7.5.8", "7.6.5")),
}
#: Where `jupyterlab.extensions.pypi` makes its client at once, and with an object of httpx's.
_PROXY_VARIABLES = ("ALL_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")


class _HealthCheck(type):
    """Of the stand-in for the hub's HealthCheckHandler: `isinstance` asks the real one, once that is imported."""

    def __instancecheck__(cls, instance: object) -> bool:
        pages = sys.modules.get("jupyterhub.handlers.pages")
        return isinstance(pages, type(sys)) and isinstance(instance, getattr(pages, "HealthCheckHandler", ()))


def _jupyterhub() -> Offers:
    """SQLAlchemy, alembic and the hub's pages, of which a server needs one function that asks no database."""
    return {
        "sqlalchemy": {},
        "sqlalchemy.exc": {"SQLAlchemyError": type("SQLAlchemyError", (Exception,), {})},
        "jupyterhub.orm": {},
        "jupyterhub.roles": {},
        "jupyterhub.handlers": {},
        "jupyterhub.handlers.pages": {"HealthCheckHandler": _HealthCheck("HealthCheckHandler", (), {})},
        "aiohttp": {},
        "jupyterhub.httpclient": {"fetch": hub_client.fetch},
    }


def _jsonschema() -> Offers:
    """Checks of formats that hardly any schema asks for."""
    duration_error = type("DurationParsingException", (ValueError,), {})

    def parse_duration(text: str) -> Any:
        theirs = stand_ins.real("isoduration")
        try:
            return theirs.parse_duration(text)
        except theirs.DurationParsingException as error:
            raise duration_error(str(error)) from error

    return {
        "isoduration": {"DurationParsingException": duration_error, "parse_duration": parse_duration},
        "rfc3986_validator": {"validate_rfc3986": stand_ins.deferred("rfc3986_validator", "validate_rfc3986")},
        "rfc3339_validator": {"validate_rfc3339": stand_ins.deferred("rfc3339_validator", "validate_rfc3339")},
        "fqdn": {"FQDN": stand_ins.deferred("fqdn", "FQDN")},
        "webcolors": {},
        "uri_template": {},
    }


def _jupyter_client() -> Offers:
    """A parser of dates, for messages of kernels."""
    return {"dateutil.parser": {"isoparse": stand_ins.deferred("dateutil.parser", "isoparse")}}


def _jupyter_server() -> Offers:
    """A client of web sockets, for kernels on another computer."""
    return {"websocket": {}}


def _jupyterlab() -> Offers:
    """What JupyterLab needs when somebody opens its list of extensions, or chooses another language."""
    versions = ("Range", "gt", "gte", "lt", "lte", "make_semver")
    offers: Offers = {
        module: {name: stand_ins.deferred(module, name) for name in versions}
        for module in ("jupyter_builder.jupyterlab_semver", "jupyterlab.semver")
    }
    offers["requests"] = {}
    offers["babel"] = {}
    if not any(os.environ.get(name) for name in _PROXY_VARIABLES):
        offers["httpx"] = {"__version__": "0.28", "AsyncClient": _later_client}
    return offers


def _later_client(**options: Any) -> Later:
    """JupyterLab makes this at its start: 60 ms, most of them for reading the certificates of the world."""
    return Later(lambda: stand_ins.real("httpx").AsyncClient(**options))


OFFERS: Mapping[str, Callable[[], Offers]] = {
    JUPYTERHUB: _jupyterhub,
    "jsonschema": _jsonschema,
    "jupyter-client": _jupyter_client,
    "jupyter-server": _jupyter_server,
    "jupyterlab": _jupyterlab,
}
#: What a server with these packages imports between its program and its first answer, for one that is prepared ahead.
#: None of them reads a variable that comes with the server's start: `tests/machine/test_waiting.py` looks.
AHEAD: Mapping[str, tuple[str, ...]] = {
    "jupyter-server": (
        "jupyter_server.services.api.handlers",
        "jupyter_server.services.config.handlers",
        "jupyter_server.services.contents.handlers",
        "jupyter_server.services.events.handlers",
        "jupyter_server.services.kernels.handlers",
        "jupyter_server.services.kernelspecs.handlers",
        "jupyter_server.services.nbconvert.handlers",
        "jupyter_server.services.security.handlers",
        "jupyter_server.services.sessions.handlers",
        "jupyter_server.services.shutdown",
        "jupyter_server.kernelspecs.handlers",
        "jupyter_server.nbconvert.handlers",
        "jupyter_server.view.handlers",
        "tornado.simple_httpclient",
    ),
    "jupyterlab": ("jupyterlab.extensions",),
    "jupyter-lsp": ("jupyter_lsp.serverextension",),
    "jupyter-server-terminals": ("jupyter_server_terminals.app",),
    "notebook": ("notebook.app",),
}
#: Asked for at the start for one function in a module of its own (`IPython.paths`).
SLEEPING = ("IPython",)


def offers_for(installed: Mapping[str, str]) -> Offers:
    """What may be stood in for where these versions are installed."""
    return {
        module: names
        for package, offers in OFFERS.items()
        if installed.get(package) in TESTED[package]
        for module, names in offers().items()
    }


def settle() -> None:
    """When all is imported: what stand-ins alone cannot do."""
    _catch_real_database_errors()
    # jupyter_server asks for it at its start, and Python asks `uname -p`, a program, which on Debian never knows.
    vars(platform.uname()).setdefault("processor", "")


def _catch_real_database_errors() -> None:
    """Whoever runs a hub in this process catches real errors of SQLAlchemy's: `except` has to name the real class.

    JupyterHub does so in one function, which only the hub's own code calls.
    """
    utils = sys.modules["jupyterhub.utils"]
    if not isinstance(sys.modules.get("sqlalchemy"), type(sys)) and hasattr(utils, "catch_db_error"):
        plain = utils.catch_db_error

        def catch_db_error(method: Callable[..., Any]) -> Any:
            vars(utils).update(SQLAlchemyError=stand_ins.real("sqlalchemy.exc").SQLAlchemyError, catch_db_error=plain)
            return plain(method)

        vars(utils)["catch_db_error"] = catch_db_error
