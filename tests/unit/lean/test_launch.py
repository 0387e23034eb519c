"""lean: a server that starts lean looks like the plain one, and becomes it where something is strange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jupyterhub.services import auth as services_auth

from jupyterhub4family.lean import deferrals
from tests.unit.lean.environment import PROGRAM, Environment

#: JupyterHub 5 (Debian 11) asks the hub by tornado itself.
WITH_AIOHTTP = hasattr(services_auth, "fetch")
#: What only the hub needs.
HEAVY = (
    *("sqlalchemy", "alembic", "jupyterhub.orm", "jupyterhub.roles", "jupyterhub.handlers"),
    *(["aiohttp"] if WITH_AIOHTTP else []),
)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def test_it_starts_without_what_only_the_hub_needs(environment: Environment) -> None:
    got = environment.run("import sys; result = sorted(sys.modules)")
    assert not got.is_plain and got.log == "" and got.status == 0
    assert not {name for name in got.result if name.startswith(HEAVY)}
    assert "jupyterhub.singleuser.extension" in got.result and "jupyterlab.labapp" in got.result
    assert got.runs == [], "neither JupyterLab's client nor anything else of its"
    plain = environment.run("import sys; result = sorted(sys.modules)", plain=True)
    assert set(HEAVY) < set(plain.result), "what the test looks for is there without us"


#: What a program sees of itself.
SURROUNDINGS = """
import gc, multiprocessing, os, platform, sys
main = sys.modules["__main__"]
result = {
    "argv": sys.argv, "path": sys.path, "executable": sys.executable, "flags": str(sys.flags),
    "variables": dict(os.environ), "directory": os.getcwd(), "file": main.__file__, "doc": main.__doc__,
    "loader": main.__loader__.path, "spec": main.__spec__, "names": sorted(vars(main)), "package": main.__package__,
    "platform": [platform.platform(), platform.processor(), list(platform.uname())],
    "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace(), sys.getprofile()], "collects": gc.isenabled(),
    "sys.modules": sorted(name for name in sys.modules if "4family" in name),
    "importers": [one for one in sys.path_importer_cache if one.endswith(("/src", "/jupyterhub4family", "/lean"))],
    "finders": [one for one in map(str, sys.meta_path) if "4family" in one or "tand" in one],
    "descriptors": sorted(os.listdir("/proc/self/fd")), "start": multiprocessing.get_start_method(),
}
"""


def test_the_program_sees_what_it_would_see_without_us(environment: Environment) -> None:
    lean = environment.run(SURROUNDINGS, "--one", "two three")
    plain = environment.run(SURROUNDINGS, "--one", "two three", plain=True)
    assert not lean.is_plain
    assert lean.result == plain.result
    assert lean.result["argv"] == [str(environment.program), "--one", "two three"]
    assert lean.result["path"][0] == str(environment.program.parent)


def test_a_program_that_multiprocessing_starts_anew_is_plain(environment: Environment) -> None:
    """It imports the main program by its file, as everywhere."""
    probe = """
import concurrent.futures, multiprocessing
with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    result = pool.submit(eval, "__import__('sys').modules['__mp_main__'].__file__").result()
"""
    assert environment.run(probe).result == str(environment.program)


def test_the_exit_status_is_the_programs(environment: Environment) -> None:
    assert environment.run("result = 1; status = 7").status == 7


# -- the real modules are there for everybody ---------------------------------------------------------------


def test_whoever_imports_gets_the_real_modules(environment: Environment) -> None:
    probe = """
import sqlalchemy, jupyterhub.orm, jupyterhub.roles, jupyterhub.handlers.pages
from sqlalchemy.exc import SQLAlchemyError, OperationalError
import requests, httpx
engine = sqlalchemy.create_engine("sqlite://")
try:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("select nonsense"))
except SQLAlchemyError as error:
    caught = isinstance(error, OperationalError)
result = [caught, jupyterhub.orm.User.__tablename__, requests.get(), httpx.AsyncClient(limit=1).limit,
          sqlalchemy.__file__ is not None,
          jupyterhub.handlers.pages.HealthCheckHandler.__module__]
"""
    got = environment.run(probe)
    assert not got.is_plain
    assert got.result == [
        True,
        "users",
        "got",
        1,
        True,
        "jupyterhub.handlers.pages",
    ]


def test_aiohttp_and_jupyterhubs_own_client_are_the_real_ones(environment: Environment) -> None:
    probe = """
import jupyterhub.utils as utils
early = utils.aiohttp.ClientOSError.__name__ if hasattr(utils, "aiohttp") else ""
try:
    import aiohttp, jupyterhub.httpclient
except ImportError:
    result = ["there is none", early]
else:
    result = [early, aiohttp.ClientSession.__module__, jupyterhub.httpclient.fetch.__module__, utils.fetch.__module__]
"""
    ours = "jupyterhub4family.lean.hub_client"
    theirs = ["ClientOSError", "aiohttp.client", "jupyterhub.httpclient", ours]
    assert environment.run(probe).result == (theirs if WITH_AIOHTTP else ["there is none", ""])


def test_who_imported_early_gets_the_real_modules_when_they_are_used(environment: Environment) -> None:
    probe = """
import jupyterlab.labapp as lab, jupyterhub.scopes as scopes
result = [scopes.orm.User.__tablename__, scopes.sa.create_engine.__module__,
          lab.gte(2, 1), lab.requests.get(), lab.client.limit]
"""
    got = environment.run(probe)
    assert got.result == ["users", "sqlalchemy.engine.create", True, "got", 3]
    assert got.runs == ["semver", "requests", "httpx"]


def test_isinstance_and_except_go_by_the_real_classes(environment: Environment) -> None:
    probe = """
import asyncio, logging
import jupyterhub.log, jupyterhub.utils as utils
from tornado.web import RequestHandler
stand_in = jupyterhub.log.HealthCheckHandler
before = isinstance(object.__new__(RequestHandler), stand_in)
from jupyterhub.handlers.pages import HealthCheckHandler
after = isinstance(object.__new__(HealthCheckHandler), stand_in), isinstance(object.__new__(RequestHandler), stand_in)
from sqlalchemy.exc import SQLAlchemyError
rolled_back = []
class Hub:
    log = logging.getLogger("x")
    class db:
        rollback = staticmethod(lambda: rolled_back.append(1))
    @utils.catch_db_error
    async def act(self): raise SQLAlchemyError("a real one")
logging.disable()
asyncio.run(Hub().act())
result = [before, *after, rolled_back, utils.SQLAlchemyError is SQLAlchemyError]
"""
    got = environment.run(probe)
    assert not got.is_plain
    assert got.result == [False, True, False, [1], True]


def test_a_token_that_the_hub_refuses_and_a_hub_that_is_gone(environment: Environment) -> None:
    probe = """
import asyncio, http.server, json, logging, threading
from jupyterhub.services import auth as services_auth
from tornado.web import HTTPError
class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers["Authorization"] == "token good"
        body = json.dumps({"name": "anna"} if known else {"status": 403}).encode()
        self.send_response(200 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
logging.disable()
result = [services_auth.fetch.__module__ if hasattr(services_auth, "fetch") else ""]
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    auth = services_auth.HubAuth(api_url=f"http://127.0.0.1:{server.server_address[1]}/hub/api", api_token="own")
    for token in ("good", "refused"):
        result.append(asyncio.run(auth.user_for_token(token, sync=False)))
    server.shutdown()
try:
    asyncio.run(auth.user_for_token("other", sync=False))
except HTTPError as error:
    result.append(error.status_code)
"""
    got = environment.run(probe)
    client = "jupyterhub4family.lean.hub_client" if WITH_AIOHTTP else ""
    assert got.result == [client, {"name": "anna"}, None, 500]


def test_a_sleeping_package_wakes_up_when_a_name_of_its_own_is_used(environment: Environment) -> None:
    probe = """
import sys
from IPython.paths import get_ipython_dir
asleep = type(sys.modules["IPython"]).__name__
import IPython
print("RUNS -")
result = [asleep, get_ipython_dir(), IPython.__version__, IPython.get_ipython(), IPython.shell, type(IPython).__name__,
          IPython.__spec__.name, IPython.__file__.endswith("__init__.py"), hasattr(IPython, "nonsense")]
"""
    got = environment.run(probe)
    assert got.runs == ["-", "IPython"]
    assert got.result == ["_Sleeping", "/dir", "9", None, "shell", "module", "IPython", True, False]


def test_what_a_package_that_cannot_be_imported_says_is_said(environment: Environment) -> None:
    environment.write("requests.py", "raise ImportError('broken by its owner')")
    probe = """
import jupyterlab.labapp as lab
result = []
for use in (lambda: __import__("requests"), lambda: lab.requests.get()):
    try: use()
    except ImportError as error: result.append(str(error))
"""
    assert environment.run(probe).result == ["broken by its owner"] * 2


# -- plain ----------------------------------------------------------------------------------------------------

#: What a plain server has: everything, as it always was.
IS_PLAIN = (
    "import sys, gc; result = ['sqlalchemy' in sys.modules, 'jupyterhub.handlers.pages' in sys.modules, sys.argv[1:]]"
)
PLAIN = [True, True, ["--one"]]


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        ({"jupyterhub": "6.2.0"}, "JupyterHub 6.2.0 has not been tried with it"),
        ({"jupyterhub": ""}, "JupyterHub without a version has not been tried with it"),
        ({"JupyterHub": "6.0.0"}, "JupyterHub in two versions has not been tried with it"),
    ],
)
def test_another_jupyterhub_starts_plain(tmp_path: Path, versions: dict[str, Any], reason: str) -> None:
    got = Environment(tmp_path, **versions).run(IS_PLAIN, "--one")
    assert got.result == PLAIN
    (line,) = got.log.splitlines()
    assert line == (
        "[W jupyterhub4family] this server starts with all of JupyterHub (plain, not lean): NotTested: " + reason
    )


SURPRISES = {
    "an exception": (
        "jupyterlab/labapp.py",
        "raise RuntimeError('a surprise\\nof two lines')",
        "a surprise of two lines",
    ),
    "no such module": ("jupyterlab/labapp.py", "import no_such_module", "no_such_module"),
    "a name that is not offered": (
        "jupyterlab/labapp.py",
        "import sqlalchemy; sqlalchemy.create_engine",
        "create_engine",
    ),
    "from a stand-in": ("jupyterlab/labapp.py", "from requests import get", "requests.get is needed at the start"),
    "swallowed": ("jupyterlab/labapp.py", "try: from requests import get\nexcept: pass", "requests.get is needed"),
    "the end": ("jupyterlab/labapp.py", "raise SystemExit(3)", "SystemExit: 3"),
    "not Python": ("jupyterlab/labapp.py", "this is: no Python", "SyntaxError"),
}


@pytest.mark.parametrize(("file", "text", "reason"), SURPRISES.values(), ids=SURPRISES)
def test_any_surprise_makes_the_server_plain(environment: Environment, file: str, text: str, reason: str) -> None:
    """JupyterLab is not imported by the plain program of the test, as it is in none whose owner has turned it off."""
    environment.write(file, text)
    got = environment.run(IS_PLAIN, "--one")
    assert got.result == PLAIN
    assert got.is_plain and reason in got.log and len(got.log.splitlines()) == 1


def test_a_full_disk_keeps_no_server_from_starting_plain(environment: Environment) -> None:
    environment.write("jupyterlab/labapp.py", "raise RuntimeError")
    with open("/dev/full", "wb") as log:
        assert environment.run(IS_PLAIN, "--one", log=log).result == PLAIN


def test_another_jupyterlab_is_left_to_itself(tmp_path: Path) -> None:
    environment = Environment(tmp_path, jupyterlab="5.0.0")
    got = environment.run("import sys, jupyterlab.labapp; result = 'sqlalchemy' in sys.modules")
    assert not got.is_plain and got.result is False
    assert got.runs == ["httpx", "requests", "semver"], "as it is written there"


@pytest.mark.parametrize(
    "text", ["print('FOUND 1')", "from jupyterhub.singleuser import main as theirs\nprint('FOUND 1')"]
)
def test_a_program_of_the_members_own_is_run_as_it_is(environment: Environment, text: str) -> None:
    environment.program.write_text(text, "utf-8")
    got = environment.run("")
    assert got.is_plain and got.result == 1 and "is not the program that JupyterHub brings along" in got.log


def test_a_program_that_is_longer_than_jupyterhubs_is_run_as_it_is(environment: Environment) -> None:
    environment.program.write_text(PROGRAM + "#" * 5000, "utf-8")
    got = environment.run(IS_PLAIN, "--one")
    assert got.is_plain and got.result == PLAIN


def test_the_program_as_uv_writes_it_for_trees_that_move(environment: Environment) -> None:
    shell = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""
    environment.program.write_text(shell + PROGRAM, "utf-8")
    assert not environment.run("result = 1").is_plain


def test_behind_a_proxy_of_the_machines_jupyterlab_makes_its_client_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "httpx" in deferrals.offers_for({"jupyterlab": "4.6.6"})
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    offers = deferrals.offers_for({"jupyterlab": "4.6.6"})
    assert "httpx" not in offers and "requests" in offers
