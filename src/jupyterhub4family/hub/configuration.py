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
from jupyterhub4family.hub import expert_files, startup
from jupyterhub4family.service.hub_state import tokens
from jupyterhub4family.service.hub_state.disk_reserve import Connection

#: What members of the delegate group may do in the hub: see everybody's servers, start and stop them.
#: Entering them would be `access:servers`, and changing users `admin:users`: neither is here.
DELEGATE_SCOPES = ["admin-ui", "list:users", "read:users", "servers"]
#: What the door `members` needs to make the hub know or forget a member.
MEMBERSHIP_SCOPES = ["admin:users", "admin:servers"]


def configure(config: Any) -> None:
    """Fill JupyterHub's configuration object. A bad settings file has been told in the log by `run-hub`."""
    settings, _problem = effective.settings_in_use()
    _connections(config, settings)
    _users(config)
    _pages(config, settings)
    _servers(config, settings)
    expert_files.execute_expert_files(config)
    startup.after_start(settings)


def _connections(config: Any, settings: Settings) -> None:
    # TLS is the proxy's; this is how JupyterHub calls itself.
    scheme = "https" if settings.https else "http"
    config.JupyterHub.bind_url = f"{scheme}://{settings.bind_address}:{settings.port}"
    config.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub_port}"
    config.JupyterHub.db_url = f"sqlite:///{paths.STATE}/jupyterhub.sqlite"
    # What JupyterHub says to sqlite by itself, and that the journal stays (service/hub_state/disk_reserve.py).
    config.JupyterHub.db_kwargs = {"connect_args": {"check_same_thread": False, "factory": Connection}}
    # A newer release may bring a newer JupyterHub; it copies the database before it changes it.
    config.JupyterHub.upgrade_db = True
    config.JupyterHub.cookie_secret_file = str(paths.STATE / "cookie_secret")
    # Hub, proxy and servers are started and restarted independently of each other.
    config.JupyterHub.cleanup_proxy = False
    config.JupyterHub.cleanup_servers = False
    config.ConfigurableHTTPProxy.should_start = False
    config.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
    config.ConfigurableHTTPProxy.auth_token = tokens.ensure_token(tokens.PROXY_TOKEN).reveal()
    config.JupyterHub.services = [
        {"name": "routes", "api_token": tokens.ensure_token(tokens.ROUTES_TOKEN).reveal()},
        {"name": "membership", "api_token": tokens.ensure_token(tokens.MEMBERSHIP_TOKEN).reveal()},
    ]


def _users(config: Any) -> None:
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
    config.JupyterHub.load_roles = [
        {"name": accounts.DELEGATE_GROUP, "groups": [accounts.DELEGATE_GROUP], "scopes": DELEGATE_SCOPES},
        {"name": "routes", "services": ["routes"], "scopes": ["proxy"]},
        {"name": "membership", "services": ["membership"], "scopes": MEMBERSHIP_SCOPES},
    ]


def _pages(config: Any, settings: Settings) -> None:
    from jupyterhub4family.hub import pages

    pages.configure_pages(config, settings)


def _servers(config: Any, settings: Settings) -> None:
    from jupyterhub4family.hub.spawner import FamilySpawner

    config.JupyterHub.spawner_class = FamilySpawner
    config.JupyterHub.allow_named_servers = True
    config.JupyterHub.tornado_settings = {
        # Show the progress page at once instead of a white page for up to ten seconds.
        "slow_spawn_timeout": 0,
        # Also the XSRF cookie, which would be left out otherwise: no browser sends any of them without TLS.
        "cookie_options": {"secure": settings.https},
        "headers": {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"},
    }
    config.FamilySpawner.sudospawner_path = str(doors.MEDIATOR.path)
    config.FamilySpawner.mediator_log_level = ""
    config.FamilySpawner.default_url = "/lab"
    config.FamilySpawner.notebook_dir = "~"
    config.FamilySpawner.start_timeout = settings.start_timeout
    config.FamilySpawner.http_timeout = settings.start_timeout
    # Seconds before a server is killed: its kernels have five of them to end their cells.
    config.FamilySpawner.term_timeout = 15
