"""hub.configuration: what JupyterHub is told, from which settings, and that it understands all of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import dbutil, orm
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from jupyterhub4family.common.settings import effective
from jupyterhub4family.hub import authenticator, configuration, lean_start, membership, spawner
from jupyterhub4family.service.hub_state import connection, disk_reserve
from tests.unit.helpers import SRC, TIMEOUT
from tests.unit.hub.doubles import Doors, MachineDirectory
from tests.unit.hub.portal import Portal, in_a_loop


def configured(machine: MachineDirectory, settings: str = "") -> Any:
    """What JupyterHub is told with these settings."""
    machine.settings(settings)
    config = Config()
    configuration.configure(config)
    return config


def value_of(config: Any, key: str) -> Any:
    """The value of such a thing as `JupyterHub.bind_url`, or of a key in it: `JupyterHub.template_vars:family_name`."""
    name, _colon, below = key.partition(":")
    section, _dot, trait = name.partition(".")
    assert trait in config[section], f"{name} is not set at all"
    value = config[section][trait]
    for word in below.split(":") if below else ():
        value = value[word]
    return value


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ("", "JupyterHub.bind_url", "https://:8000"),
        ("port: 8443", "JupyterHub.bind_url", "https://:8443"),
        ("listen: local", "JupyterHub.bind_url", "https://127.0.0.1:8000"),
        ("listen: local\nhttps: false", "JupyterHub.bind_url", "http://127.0.0.1:8000"),
        ("https: false\nallow_plain_http: true", "JupyterHub.bind_url", "http://:8000"),
        ("hub_port: 9001", "JupyterHub.hub_connect_url", "http://127.0.0.1:9001"),
        ("start_timeout: 77", "FamilySpawner.start_timeout", 77),
        ("start_timeout: 77", "FamilySpawner.http_timeout", 77),
        ("", "JupyterHub.allow_named_servers", True),
        ("", "JupyterHub.named_server_limit_per_user", 5),
        ("named_servers: 2", "JupyterHub.named_server_limit_per_user", 2),
        ("named_servers: 0", "JupyterHub.allow_named_servers", False),
        ("family_name: Adlers", "JupyterHub.template_vars:family_name", "Adlers"),
        ("login_help: Ask Paul", "JupyterHub.template_vars:login_help", "Ask Paul"),
        ("", "JupyterHub.template_vars:language_is_set", False),
        ("language: de", "JupyterHub.template_vars:language_is_set", True),
        ("", "JupyterHub.template_vars:has_trust_page", True),
        ("listen: local\nhttps: false", "JupyterHub.template_vars:has_trust_page", False),
        ("", "JupyterHub.tornado_settings:cookie_options:secure", True),
        ("listen: local\nhttps: false", "JupyterHub.tornado_settings:cookie_options:secure", False),
    ],
)
def test_what_a_setting_does(machine: MachineDirectory, settings: str, key: str, value: Any) -> None:
    assert value_of(configured(machine, settings), key) == value


#: Each has a reason that somebody could forget: who loosens one has to come by here.
PROMISES = {
    # Hub, proxy and servers live independently of each other.
    "JupyterHub.cleanup_proxy": False,
    "JupyterHub.cleanup_servers": False,
    "ConfigurableHTTPProxy.should_start": False,
    "JupyterHub.upgrade_db": True,
    # Who may do what.
    "JupyterHub.authenticator_class": authenticator.DoorAuthenticator,
    "JupyterHub.spawner_class": spawner.FamilySpawner,
    "DoorAuthenticator.allowed_groups": {"jupyterhub"},
    "DoorAuthenticator.manage_groups": True,
    "DoorAuthenticator.auth_refresh_age": 2,
    "DoorAuthenticator.refresh_pre_spawn": True,
    "FamilySpawner.sudospawner_path": "/usr/lib/jupyterhub4family/mediator",
    # What people meet.
    "JupyterHub.tornado_settings:slow_spawn_timeout": 0,
    "JupyterHub.tornado_settings:headers": {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"},
    "FamilySpawner.default_url": "/lab",
    "FamilySpawner.notebook_dir": "~",
    "FamilySpawner.term_timeout": 15,
    "FamilySpawner.mediator_log_level": "",
}


@pytest.mark.parametrize("key", PROMISES)
def test_what_no_setting_changes(machine: MachineDirectory, key: str) -> None:
    assert value_of(configured(machine), key) == PROMISES[key]


def test_roles_give_what_they_are_for_and_no_more(machine: MachineDirectory) -> None:
    roles = {role.pop("name"): role for role in configured(machine).JupyterHub.load_roles}
    assert roles == {
        "jupyterhub_adm": {
            "groups": ["jupyterhub_adm"],
            "scopes": ["admin-ui", "list:users", "read:users", "servers"],
        },
        "user": {"scopes": ["self", "shares!user"]},
        "routes": {"services": ["routes"], "scopes": ["proxy"]},
        "membership": {"services": ["membership"], "scopes": membership.SCOPES},
    }


def test_tokens_are_made_once_and_are_nobody_elses_to_read(machine: MachineDirectory) -> None:
    first, second = configured(machine), configured(machine)
    services = {one["name"]: one["api_token"] for one in first.JupyterHub.services}
    assert services == {one["name"]: one["api_token"] for one in second.JupyterHub.services}
    proxy = first.ConfigurableHTTPProxy.auth_token
    assert len({proxy, *services.values()}) == 3 and min(map(len, services.values())) == len(proxy) == 64
    files = {"proxy_token": proxy, "routes_token": services["routes"], "membership_token": services["membership"]}
    for name, token in files.items():
        path = machine.state / name
        assert path.read_text("ascii").strip() == token and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.JupyterHub.cookie_secret_file == str(machine.state / "cookie_secret")
    assert first.JupyterHub.db_url == f"sqlite:///{machine.state}/jupyterhub.sqlite"


def test_a_database_of_another_form_is_closed_while_alembic_changes_it(
    machine: MachineDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterHub copies the file itself, and so loses its locks of it: alembic removes the log as the last.

    What the hub wrote then went into a file without a name, and was gone with it.
    """
    config = configured(machine).JupyterHub
    database, log = machine.state / "jupyterhub.sqlite", logging.getLogger("test")
    orm.new_session_factory(config.db_url, **config.db_kwargs)().bind.dispose()
    with contextlib.closing(sqlite3.connect(database)) as older:
        older.execute("UPDATE alembic_version SET version_num = '99a28a4418e1'")
        older.commit()
    disk_reserve.ensure_reserve(database)

    def sql(statement: str) -> str:
        """Executed by another process, which then closes the database."""
        code = f"import sqlite3; c = sqlite3.connect({str(database)!r}); print(c.execute({statement!r}).fetchall())"
        child = [sys.executable, "-c", f"{code}; c.commit(); c.close()"]
        return subprocess.run(child, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout.strip()

    def upgrade(_url: str) -> None:
        sql(f"UPDATE alembic_version SET version_num = '{lean_start.head_revision()}'")

    monkeypatch.setattr(dbutil, "upgrade", upgrade)
    dbutil.upgrade_if_needed(config.db_url, db_kwargs=config.db_kwargs, log=log)
    session = orm.new_session_factory(config.db_url, **config.db_kwargs)()
    for name in ("anna", "ben"):
        session.add(orm.Group(name=name))
        session.commit()
        # Somebody copies the database meanwhile.
        assert f"('{name}',)" in sql("SELECT name FROM groups")
        assert connection.log_of(database).exists() and connection.index_of(database).exists()
    session.close()
    session.bind.dispose()


def test_a_bad_settings_file_gives_way_to_the_last_good_one(machine: MachineDirectory) -> None:
    machine.settings("port: 8123\n")
    effective.settings_of_service("hub")
    assert configured(machine, "prot: 9\n").JupyterHub.bind_url == "https://:8123"
    for note in machine.public.iterdir():
        note.unlink()
    assert configured(machine, "prot: 9\n").JupyterHub.bind_url == "https://127.0.0.1:8000", "no wider than asked for"


def test_experts_files_come_last_and_in_order(machine: MachineDirectory) -> None:
    machine.expert_file("20.py", "c.FamilySpawner.default_url += '/tree'")
    machine.expert_file("10.py", "c.FamilySpawner.default_url = '/x'\nc.JupyterHub.services.append({'name': 'theirs'})")
    config = configured(machine)
    assert config.FamilySpawner.default_url == "/x/tree"
    assert [one["name"] for one in config.JupyterHub.services] == ["routes", "membership", "theirs"]
    assert effective.skipped_files() == []


def test_a_broken_file_of_an_expert_leaves_no_trace_but_a_note(
    machine: MachineDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = configured(machine)
    machine.expert_file("10.py", "c.FamilySpawner.default_url = '/x'\nc.JupyterHub.services.clear()\nnonsense\n")
    config = configured(machine)
    assert config.FamilySpawner == plain.FamilySpawner and config.JupyterHub.services == plain.JupyterHub.services
    (skipped,) = effective.skipped_files()
    assert (skipped.name, skipped.line, skipped.problem) == ("10.py", 3, "NameError")
    assert "runs without this file" in capsys.readouterr().err


def test_jupyterhub_understands_every_word(
    machine: MachineDirectory, doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """A trait that a newer JupyterHub has renamed would be passed over with a warning in the log."""

    async def work() -> None:
        async with Portal(machine) as portal:
            user = portal.user("anna")
            assert user.spawner.start_timeout == 300 and user.spawner.default_url == "/lab"
            assert portal.app.authenticator.allowed_groups == {"jupyterhub"}

    in_a_loop(work)
    assert "not recognized" not in caplog.text
    assert [
        one for one in caplog.text.splitlines() if "deprecated" in one.lower() and "extra_handlers" not in one
    ] == []


def test_the_file_that_jupyterhub_executes_does_the_same(
    machine: MachineDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = SRC / "jupyterhub4family/hub/jupyterhub_config.py"
    machine.settings("port: 8321\n")
    config = PyFileConfigLoader(file.name, str(file.parent)).load_config()
    assert config.JupyterHub.bind_url == "https://:8321"
    assert config.keys() == configured(machine, "port: 8321\n").keys()
    assert sys.path[0] == "/usr/lib/jupyterhub4family"


def test_the_hubs_database_has_a_log_and_what_is_taken_away_is_on_the_disk(
    machine: MachineDirectory, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JupyterHub writes it, by SQLAlchemy (service/hub_state/connection.py)."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))

    async def work() -> None:
        async with Portal(machine) as portal:
            user = portal.user("anna")
            synced.clear()
            token = user.new_api_token(note="of hers")
            user.last_activity = datetime.now(timezone.utc).replace(tzinfo=None)
            portal.app.db.commit()
            assert synced == [], "who has come, and when"
            portal.app.db.delete(orm.APIToken.find(portal.app.db, token))
            portal.app.db.commit()
            assert [Path(file).name for file in synced] == ["jupyterhub.sqlite-wal"], "a token that was revoked"
            portal.app.users.delete(user)
            assert len(synced) > 1, "a member that was removed"
            log = Path(f"{machine.state}/jupyterhub.sqlite-wal")
            assert stat.S_IMODE(log.stat().st_mode) & 0o077 == 0

    mask = os.umask(0o077)
    try:
        in_a_loop(work)
    finally:
        os.umask(mask)
