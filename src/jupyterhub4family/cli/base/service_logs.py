"""Runs as the caller: where the service's logs lie where cron supervises (with systemd they are in its journal)."""

from __future__ import annotations

from jupyterhub4family.cli.base import accounts as membership
from jupyterhub4family.common import paths
from jupyterhub4family.common.system.logs import Log


def service_log(name: str) -> Log:
    """The log of `hub` or `proxy`. It is the service's: root reads nothing else in its place."""
    account = membership.service_account()
    return Log(paths.SERVICE_LOGS / f"{name}.log", paths.SERVICE_HOME, owner=account.pw_uid if account else None)
