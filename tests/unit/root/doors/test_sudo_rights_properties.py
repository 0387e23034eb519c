"""root.sudo_rights: no combination of users and groups hides one that sudo would let act as root."""

from __future__ import annotations

import pwd

import pytest

pytest.importorskip("hypothesis")

from hypothesis import given
from hypothesis import strategies as st

from jupyterhub4family.root.doors import sudo_rights
from jupyterhub4family.root.doors.sudo_rights import Rule, UnreadableListing, parse
from tests.unit.helpers import People
from tests.unit.properties import thorough

NAMES = ["root", "#0", "toor", "ALL", "anna", "#1501", "%sudo", "%jupyterhub", "nosuch"]
USERS = st.lists(st.tuples(st.sampled_from(["", "!", "!!"]), st.sampled_from(NAMES)), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def accounts() -> dict[str, pwd.struct_passwd]:
    """The same for all examples."""
    patch = pytest.MonkeyPatch() if hasattr(pytest, "MonkeyPatch") else None
    if patch is None:
        pytest.skip("this pytest has no MonkeyPatch")
    people = People(patch)
    found = {"root": people.add("root", 0), "toor": people.add("toor", 0), "anna": people.add("anna", 1501)}
    found["papa"] = people.add("papa", 1002, "sudo")
    found["ben"] = people.add("ben", 1500, "jupyterhub")
    return found


def reaches_root(users: list[tuple[str, str]]) -> bool:
    """As sudoers(5) says: whether root, under one of its names, is matched last without a `!`."""

    def is_matched(account: str) -> bool:
        names = {"root": ("root", "#0", "ALL"), "toor": ("toor", "#0", "ALL")}[account]
        hits = [mark for mark, name in users if name in names]
        return bool(hits) and hits[-1] != "!"

    return is_matched("root") or is_matched("toor")


@thorough
@given(USERS)
def test_root_is_found_exactly_when_the_last_match_says_so(
    accounts: dict[str, pwd.struct_passwd], users: list[tuple[str, str]]
) -> None:
    found = sudo_rights._bad_user(accounts["ben"], [mark + name for mark, name in users], lambda _account: None)
    assert (found is not None and "root" in found) is reaches_root(users)


@thorough
@given(st.text())
def test_any_listing_is_read_or_refused(listing: str) -> None:
    for text in (listing, f"User a may run the following commands on b:\n{listing}"):
        try:
            assert all(isinstance(one, Rule) for one in parse(text))
        except UnreadableListing as error:
            assert str(error.message)
