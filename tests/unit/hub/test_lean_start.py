"""hub.lean_start: JupyterHub without what it does not need; with it as soon as somebody asks; plainly if need be.

Each in a process of its own, as modules are loaded once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jupyterhub4family.hub import lean_start
from tests.unit.helpers import ROOT, SRC, TIMEOUT

LEFT_OUT = ["alembic", "mako", "pydantic", "pydantic_core", "cryptography", "isoduration", "arrow"]
BEGIN = f"""
import sys
sys.path[:0] = [{str(SRC)!r}, {str(ROOT)!r}]
from jupyterhub4family.hub import lean_start
lean_start.import_lean()
loaded = lambda: [name for name in {LEFT_OUT!r} if name in sys.modules]
"""


def run(code: str, begin: str = BEGIN) -> str:
    """What a Python of its own prints; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=4 * TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_what_a_hub_does_not_need_is_not_there_and_real_for_who_asks_later() -> None:
    code = """
import jupyterhub.app, jupyterhub.user, jupyterhub.apihandlers
print(loaded())
import alembic.command, alembic.config, alembic.script, pydantic, isoduration, arrow
print(alembic.script.ScriptDirectory.__name__, alembic.command.stamp.__name__, bool(alembic.__version__))
print(pydantic.BaseModel.model_validate.__name__, isoduration.parse_duration("P1D").date.days)
"""
    assert run(code).splitlines() == ["[]", "ScriptDirectory stamp True", "model_validate 1"]


def test_requests_for_shares_are_looked_at_by_pydantic() -> None:
    """As the API's handlers do it; what is wrong is refused, and not by a stand-in."""
    code = """
from jupyterhub.apihandlers import shares, default_handlers
assert loaded() == []
def ask(kind, **model):
    try:
        return getattr(shares, kind)(**model)
    except shares.ValidationError as error:
        return f"refused {len(error.errors())}"
print(ask("ShareGrantRequest", user="anna", group="g"))
assert "pydantic" in loaded()
print(ask("ShareGrantRequest", user="anna").user, ask("ShareRevokeRequest", group="g").group)
print(ask("ShareGrantRequest"), ask("ShareGrantRequest", user="anna", more=1), ask("ShareGrantRequest", user=["a"]))
print(ask("ShareCodeGrantRequest").expires_in, ask("ShareCodeGrantRequest", expires_in=5))
handler = next(handler for path, handler in default_handlers if handler.__name__ == "ServerShareAPIHandler")
import inspect, pydantic
found = inspect.unwrap(handler.post).__globals__
assert found["ValidationError"] is pydantic.ValidationError and found["ShareGrantRequest"].model_fields
"""
    assert run(code).splitlines() == ["refused 1", "anna g", "refused 1 refused 1 refused 1", "86400 refused 1"]


def test_the_first_request_may_be_wrong() -> None:
    code = """
from jupyterhub.apihandlers import shares
try:
    shares.ShareCodeGrantRequest(nonsense=1)
except shares.ValidationError as error:
    print(type(error).__module__)
"""
    assert run(code).startswith("pydantic_core")


def test_what_an_expert_has_encrypted_is_encrypted() -> None:
    """And what was spoiled is known as such, where JupyterHub catches it."""
    code = """
import asyncio
from traitlets.config import Config
import jupyterhub.user
from jupyterhub import crypto
assert loaded() == []
keeper = crypto.CryptKeeper.instance(config=Config({"CryptKeeper": {"keys": ["a" * 64]}}))
async def work():
    secret = await crypto.encrypt({"token": "x"})
    print(b"token" in secret, await crypto.decrypt(secret))
    try:
        await crypto.decrypt(b"spoiled")
    except jupyterhub.user.InvalidToken:
        import cryptography.fernet
        print(jupyterhub.user.InvalidToken is crypto.InvalidToken is cryptography.fernet.InvalidToken)
asyncio.run(work())
print("cryptography" in loaded())
"""
    assert run(code).splitlines() == ["False {'token': 'x'}", "True", "True"]


def test_without_a_key_nothing_is_encrypted_and_that_is_said() -> None:
    code = """
from jupyterhub import crypto
try:
    crypto.encrypt("x")
except crypto.NoEncryptionKeys:
    print("no keys", loaded())
"""
    assert run(code) == "no keys []"


OPEN = """
from jupyterhub import orm
def opened(database):
    return orm.new_session_factory(f"sqlite:///{database}")()
"""


def test_the_form_of_the_database_is_looked_at_without_alembic(tmp_path: Path) -> None:
    database = tmp_path / "hub.sqlite"
    # One that is new is made by the real one, and has the newest form.
    code = f"""
session = opened({str(database)!r})
print("alembic" in loaded(), session.execute(orm.text("SELECT version_num FROM alembic_version")).scalar())
"""
    real, head = run(OPEN + code).split()
    assert real == "True" and head == lean_start.head_revision() != ""
    assert run(OPEN + f"opened({str(database)!r}); print(loaded())") == "[]"


def test_another_form_is_a_matter_for_jupyterhub(tmp_path: Path) -> None:
    """An older one, one that nobody knows, and none."""
    database = tmp_path / "hub.sqlite"
    code = f"""
import sqlite3
opened({str(database)!r}).close()
for revision in ("99a28a4418e1", "0123456789ab", ""):
    connection = sqlite3.connect({str(database)!r})
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()
    try:
        opened({str(database)!r})
    except orm.DatabaseSchemaMismatch as error:
        print("mismatch")
"""
    assert run(OPEN + code).splitlines() == ["mismatch"] * 3


def test_the_newest_form_is_the_one_that_alembic_names() -> None:
    code = """
from alembic.config import Config
from alembic.script import ScriptDirectory
from jupyterhub.dbutil import _temp_alembic_ini
with _temp_alembic_ini("sqlite://") as ini:
    print(ScriptDirectory.from_config(Config(ini)).get_heads())
"""
    assert run(code) == str([lean_start.head_revision()])


@pytest.mark.parametrize(
    ("files", "head"),
    [
        ({"a": "revision = 'a'\ndown_revision = None\n", "b": "revision = 'b'\ndown_revision = 'a'\n"}, "b"),
        ({"a": 'revision = "a"\ndown_revision = None\n'}, "a"),
        ({"a": "revision = 'a'\ndown_revision = None\n", "b": "revision = 'b'\ndown_revision = None\n"}, ""),
        ({"a": "revision = 'a'\ndown_revision = 'b'\n", "b": "revision = 'b'\ndown_revision = 'a'\n"}, ""),
        ({"a": "revision = 'a'\ndown_revision = None\n", "b": "revision: str = 'b'\ndown_revision = 'a'\n"}, ""),
        ({}, ""),
    ],
)
def test_names_that_do_not_lead_to_one_form_are_left_to_alembic(
    tmp_path: Path, files: dict[str, str], head: str
) -> None:
    (tmp_path / "versions").mkdir()
    for name, text in files.items():
        (tmp_path / "versions" / f"{name}_x.py").write_text(text)
    assert lean_start.head_revision(tmp_path) == head


@pytest.mark.parametrize("problem", ["import alembic", "sys.modules['jupyterhub.app'] = None"])
def test_whatever_goes_wrong_the_plain_program_takes_over(tmp_path: Path, problem: str) -> None:
    program = tmp_path / "jupyterhub"
    program.write_text("import os, sys\nprint('plain', *sys.argv[1:], os.getpid())\n")
    begin = f"""
import os, sys
sys.path[:0] = [{str(SRC)!r}]
from jupyterhub4family.hub import lean_start
{problem}
print(os.getpid(), flush=True)
sys.argv = ["jupyterhub_program.py", {str(program)!r}, "-f", "config.py"]
lean_start.main()
"""
    pid, reason, plain = run("", begin).splitlines()
    assert reason.startswith("starting the hub with all its modules: ")
    assert plain == f"plain -f config.py {pid}", "the same process, for its lock and its port"
