"""Runs as jupyterhub, called by `doctor`: does all that a server needs work in the template, and by which files?"""

from __future__ import annotations

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import serving
from jupyterhub4family.common.protocol.service_programs import TemplateTrial
from jupyterhub4family.common.python import likeness, trial
from jupyterhub4family.service.releases import builds


def main() -> int:
    """Program `try-template`: lines of JSON on stdout, the answer last."""
    return serving.answer(try_template)


def try_template() -> TemplateTrial:
    """Import everything in the template in use. Raises FamilyError or OSError if members could not do so, too."""
    template = paths.TEMPLATES / "current"
    if not builds.is_complete(template):
        raise FamilyError(_("there is no template yet"))
    environment = template.resolve() / "env"
    # What is built or fetched again is another directory: this one stays as it is.
    places = trial.places(environment)
    found = likeness.of(environment, places)
    is_whole = (environment / "bin" / "jupyterhub-singleuser").is_file()
    if not is_whole or not likeness.is_readable_for_all(environment, places):
        raise FamilyError(_("the template could not be tried"))
    return TemplateTrial(found, places)
