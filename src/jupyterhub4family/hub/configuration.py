"""Runs inside JupyterHub's process, as `jupyterhub`: what the hub is told about this machine.

After our own settings come the files of /etc/jupyterhub4family/jupyterhub_config.d, for experts.
"""

from __future__ import annotations

from typing import Any

from jupyterhub4family.common import paths
from jupyterhub4family.common.protocol import doors
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.system import accounts
from jupyterhub4family.hub import expert_files, http_server, startup
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.hub_state.connection import Connection

#: What members of the delegate group may do in the hub: see everybody's servers, start and stop them.
#: Entering them would be `access:servers`, and changing users `admin:users`: neither is here.
DELEGATE_SCOPES = ["admin-ui", "list:users", "read:users", "servers"]
#: What members may do: all with their own servers, which they may also share.
MEMBER_SCOPES = ["self", "shares!user"]
#: What a member's server may ask of the hub: JupyterHub's own, and to be shared (docs/howto/share.md).
SERVER_SCOPES = ["users:activity!user", "access:servers!server", "shares!server"]


def configure(config: Any) -> None:
    """Fill JupyterHub's configuration object. A bad settings file has been told in the log by `run-hub`."""
    settings, _problem = effective.settings_in_use()
    http_server.configure()
    _connections(config, settings)
    _users(config)
    _pages(config, settings)
    _servers(config, settings)
    expert_files.execute_expert_files(config)
    startup.after_start(settings)


def _connections(config: Any, settings: Settings) -> None:
    from jupyterhub4family.hub import entrances, lean_database, proxy_client

    # TLS is the proxy's; this is how JupyterHub calls itself.
    scheme = "https" if settings.https else "http"
    config.JupyterHub.bind_url = f"{scheme}://{settings.bind_address}:{settings.port}"
    config.JupyterHub.hub_bind_url = entrances.hub_url()
    # For members' servers, which cannot use a socket of the account's.
    config.JupyterHub.hub_connect_url = f"http://127.0.0.1:{settings.hub_port}"
    config.JupyterHub.db_url = f"sqlite:///{paths.STATE}/jupyterhub.sqlite"
    # Twenty times a second it would look how late it is, for a figure that nobody here asks for (ADR 34).
    config.PeriodicMetricsCollector.event_loop_interval_enabled = False
    # What JupyterHub says to sqlite by itself, and how its transactions are written (service/hub_state/connection.py).
    config.JupyterHub.db_kwargs = {"connect_args": {"check_same_thread": False, "factory": Connection}}
    # A newer release may bring a newer JupyterHub; it copies the database before it changes it.
    config.JupyterHub.upgrade_db = True
    _leave_database_to_upgrades()
    lean_database.ask_less()
    config.JupyterHub.cookie_secret_file = str(paths.STATE / "cookie_secret")
    # Hub, proxy and servers are started and restarted independently of each other.
    config.JupyterHub.cleanup_proxy = False
    config.JupyterHub.cleanup_servers = False
    config.JupyterHub.proxy_class = proxy_client.FamilyProxy
    config.ConfigurableHTTPProxy.should_start = False
    config.ConfigurableHTTPProxy.api_url = proxy_client.api_url()
    # A connection that is kept would be one that a proxy which restarts has closed: the next request would fail.
    config.JupyterHubHTTPClient.connector_options = {"force_close": True}
    config.ConfigurableHTTPProxy.auth_token = tokens.ensure_token(tokens.PROXY_TOKEN).reveal()
    # They are random enough: no need to make them slower to guess with thousands of rounds of hashing.
    config.JupyterHub.trust_user_provided_tokens = True
    config.JupyterHub.services = [
        {"name": "routes", "api_token": tokens.ensure_token(tokens.ROUTES_TOKEN).reveal()},
        {"name": "membership", "api_token": tokens.ensure_token(tokens.MEMBERSHIP_TOKEN).reveal()},
    ]


def _leave_database_to_upgrades() -> None:
    """Have JupyterHub close a database of another form before it copies it and has alembic change it.

    It closes the copied file, by which this process loses its locks of it (fcntl(2)). To alembic, a process of its own,
    the database is then one that nobody has open, and it removes the log; but JupyterHub would go on with it.
    """
    from jupyterhub import orm

    from jupyterhub4family.hub import replacing

    def leaving_database(plain: Any) -> Any:
        def check_db_revision(engine: Any) -> None:
            """As JupyterHub's own."""
            try:
                plain(engine)
            except orm.DatabaseSchemaMismatch:
                engine.dispose()
                raise

        return check_db_revision

    replacing.replace(orm, "check_db_revision", leaving_database)


def _users(config: Any) -> None:
    from jupyterhub4family.hub import membership
    from jupyterhub4family.hub.authenticator import DoorAuthenticator

    config.JupyterHub.authenticator_class = DoorAuthenticator
    config.DoorAuthenticator.allowed_groups = {accounts.MEMBER_GROUP}
    config.DoorAuthenticator.manage_groups = True
    # Looked up anew after this many seconds, so that who is no longer a member is out at the next click.
    config.DoorAuthenticator.auth_refresh_age = 2
    config.DoorAuthenticator.refresh_pre_spawn = True
    if hasattr(DoorAuthenticator, "auth_refresh_strict"):
        # From JupyterHub 6.1 on, tokens of somebody who is no longer a member are good unless this is said.
        config.DoorAuthenticator.auth_refresh_strict = True
    config.JupyterHub.custom_scopes = membership.CUSTOM_SCOPES
    config.JupyterHub.load_roles = [
        {"name": "user", "scopes": MEMBER_SCOPES},
        {"name": accounts.DELEGATE_GROUP, "groups": [accounts.DELEGATE_GROUP], "scopes": DELEGATE_SCOPES},
        {"name": "routes", "services": ["routes"], "scopes": ["proxy"]},
        {"name": "membership", "services": ["membership"], "scopes": membership.SCOPES},
    ]


def _pages(config: Any, settings: Settings) -> None:
    from jupyterhub4family.hub import pages

    pages.configure_pages(config, settings)


def _servers(config: Any, settings: Settings) -> None:
    from jupyterhub4family.hub.spawner import FamilySpawner

    config.JupyterHub.spawner_class = FamilySpawner
    # To JupyterHub 0 means as many as anybody likes.
    config.JupyterHub.allow_named_servers = settings.named_servers > 0
    config.JupyterHub.named_server_limit_per_user = settings.named_servers
    config.JupyterHub.tornado_settings = {
        # Show the progress page at once instead of a white page for up to ten seconds.
        "slow_spawn_timeout": 0,
        # Also the XSRF cookie, which would be left out otherwise: no browser sends any of them without TLS.
        "cookie_options": {"secure": settings.https},
        "headers": {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"},
    }
    config.FamilySpawner.sudospawner_path = str(doors.MEDIATOR.path)
    config.FamilySpawner.mediator_log_level = ""
    config.FamilySpawner.server_token_scopes = SERVER_SCOPES
    config.FamilySpawner.default_url = "/lab"
    config.FamilySpawner.notebook_dir = "~"
    config.FamilySpawner.start_timeout = settings.start_timeout
    config.FamilySpawner.http_timeout = settings.start_timeout
    # Seconds before a server is killed: its kernels have five of them to end their cells.
    config.FamilySpawner.term_timeout = 15
