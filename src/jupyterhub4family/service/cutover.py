"""Runs as jupyterhub, called by root's `upgrade`: what an upgrade and the way back do in the service's own folders.

Root decides and starts; it writes nothing here itself, because these folders belong to the account.
"""

from __future__ import annotations

import os

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import service_programs, serving
from jupyterhub4family.common.protocol.actions import Nothing
from jupyterhub4family.common.protocol.service_programs import Built, DatabaseCopy, Fit, Ready, Release, Switch
from jupyterhub4family.service.hub_state import database
from jupyterhub4family.service.releases import builds, contents
from jupyterhub4family.service.run import proxy


def main() -> int:
    """Answer one request; progress comes before the answer."""
    os.umask(0o077)
    return serving.serve(lambda: None, HANDLERS)


def _ready(_caller: None, _request: Nothing) -> Ready:
    tree = contents.release_tree(serving.report)
    return Ready(builds.is_complete(tree.parent / tree.wanted_id()))


def _build(_caller: None, _request: Nothing) -> Release:
    """Make sure that the release which the package asks for is there, beside the one in use."""
    return Release(builds.build(contents.release_tree(serving.report)))


def _copy(_caller: None, _request: Nothing) -> DatabaseCopy:
    return DatabaseCopy(database.copy_database())


def _fit(_caller: None, request: Release) -> Fit:
    """Whether the release knows the database's form; if not, the newest copy whose form it knows.

    Of one that is not there any more nobody can tell: the hub then goes on with another one, or builds it anew.
    """
    release = paths.RELEASES / _checked(request.release)
    if not builds.is_complete(release):
        return Fit(fits=True, missing=True)
    if database.fits(release):
        return Fit(fits=True)
    return Fit(fits=False, copy=database.newest_fitting_copy(release))


def _switch(_caller: None, request: Switch) -> Built:
    changed = builds.switch(contents.release_tree(serving.report), _checked(request.release), keep_old=request.keep_old)
    if changed:
        proxy.end_proxy()
    return Built(changed)


def _restore(_caller: None, request: DatabaseCopy) -> Nothing:
    """Have the next start of the hub put a copy in the database's place."""
    database.choose_copy(request.copy)
    return Nothing()


def _checked(release: str) -> str:
    if not builds.is_id(release):
        raise UsageError(_("{name} is not a release", name=repr(release[:40])))
    return release


HANDLERS = (
    serving.on(service_programs.RELEASE_READY, _ready),
    serving.on(service_programs.WANTED_RELEASE, _build),
    serving.on(service_programs.COPY_DATABASE, _copy),
    serving.on(service_programs.DATABASE_FITS, _fit),
    serving.on(service_programs.SWITCH_RELEASE, _switch),
    serving.on(service_programs.RESTORE_DATABASE, _restore),
)
