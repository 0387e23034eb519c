"""lean.deferrals: what is left out is for the versions of our locks, which were tried, and for no other."""

from __future__ import annotations

import re

import pytest

from jupyterhub4family.lean import deferrals
from tests.unit.helpers import ROOT

LOCK = (ROOT / "locks" / "member.txt").read_text("utf-8")


@pytest.mark.parametrize("package", sorted(deferrals.TESTED))
def test_the_versions_are_those_of_the_lock(package: str) -> None:
    """A changed lock fails here until somebody has tried the lean start with it (tests/machine/test_lean.py)."""
    locked = re.findall(rf"^{package}==([\w.]+)", LOCK, re.MULTILINE)
    assert locked and set(locked) == deferrals.TESTED[package]


def test_every_package_that_something_is_left_out_of_has_versions() -> None:
    assert set(deferrals.OFFERS) | set(deferrals.AHEAD) == set(deferrals.TESTED)


def test_nothing_is_offered_for_other_versions() -> None:
    assert deferrals.offers_for({}) == {}
    assert deferrals.offers_for(dict.fromkeys(deferrals.TESTED, "0.1")) == {}
    hub_only = deferrals.offers_for({"jupyterhub": "6.1.1", "jupyterlab": "9.0"})
    assert "sqlalchemy" in hub_only and "requests" not in hub_only
