"""common.accounts: which names and accounts can belong to a member."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import pytest

from jupyterhub4family.common.errors import RefusedError, UnknownAccountError
from jupyterhub4family.common.system import accounts
from jupyterhub4family.common.system.accounts import check_name, is_member, is_ordinary_uid, never_a_member
from tests.unit.helpers import People, account


@pytest.mark.parametrize("name", ["a", "anna", "anna-lena", "anna_lena", "a1", "x" * 32, "root", "jupyterhub", "a-"])
def test_names_that_an_account_can_have(name: str) -> None:
    assert check_name(name) == name


#: What each refused name must be told about, so that the person finds the mistake.
REFUSED_NAMES = {
    "": "cannot be the name",
    "1anna": "cannot be the name",
    "_anna": "cannot be the name",
    "x" * 33: "cannot be the name",
    "jürgen": "cannot be the name",
    "anna.lena": "cannot be the name",
    "anna$": "cannot be the name",
    "anna;reboot": "cannot be the name",
    "$(reboot)": "cannot be the name",
    "../etc/passwd": "cannot be the name",
    "anna/x": "cannot be the name",
    "anna:x": "cannot be the name",
    "anna,root": "cannot be the name",
    "%jupyterhub": "cannot be the name",
    "#0": "cannot be the name",
    "*": "cannot be the name",
    "anna\0": "cannot be the name",
    "\ud800": "cannot be the name",
    "аnna": "cannot be the name",  # the first letter is Cyrillic
    "-anna": "looks like an option",
    "--all": "looks like an option",
    "-": "looks like an option",
    "Anna": "upper-case letters",
    "ANNA": "upper-case letters",
    "anna lena": "spaces",
    "anna ": "spaces",
    " anna": "spaces",
    "anna\n": "spaces",
    "anna\nroot": "spaces",
    "Anna Müller": "spaces",
    "anna\u00a0lena": "spaces",
}


@pytest.mark.parametrize("name", REFUSED_NAMES, ids=[repr(name) for name in REFUSED_NAMES])
def test_refused_names_get_a_sentence_that_helps(name: str) -> None:
    with pytest.raises(RefusedError) as caught:
        check_name(name)
    assert REFUSED_NAMES[name] in caught.value.message
    assert caught.value.hint
    assert caught.value.message.isprintable(), "the name would break the line it is written to"


def test_the_sentence_about_capitals_offers_the_right_name() -> None:
    with pytest.raises(RefusedError) as caught:
        check_name("Anna")
    assert "write anna" in caught.value.hint


def test_the_sentence_stays_short() -> None:
    with pytest.raises(RefusedError) as caught:
        check_name("ä" * 10_000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("uid", [1000, 1001, 59999, 65536, 100_000, 2**31, 2**32 - 2])
def test_uids_of_people(uid: int) -> None:
    assert is_ordinary_uid(uid)


@pytest.mark.parametrize("uid", [-1, 0, 1, 999, 60000, 65533, 65534, 65535, 2**32 - 1, 2**32, 2**40])
def test_uids_of_the_system(uid: int) -> None:
    assert not is_ordinary_uid(uid)


def test_an_account_that_is_there_is_found(people: People) -> None:
    anna = people.add("anna", 1001)
    assert accounts.find_account("anna") == anna


def test_an_account_that_is_not_there_is_told_with_what_to_do(people: People) -> None:
    with pytest.raises(UnknownAccountError, match="no account 'anna'") as caught:
        accounts.find_account("anna")
    assert caught.value.hint.endswith("sudo adduser anna")
    assert caught.value.status == 5


def test_groups_come_from_the_database_and_may_have_lost_their_names(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = people.add("anna", 1001, "jupyterhub", gid=4711)
    assert accounts.group_names(anna) == {"jupyterhub"}


@pytest.mark.parametrize(
    ("name", "uid", "text"),
    [
        ("root", 0, "administrator of this machine"),
        ("toor", 0, "administrator of this machine"),
        ("jupyterhub", 998, "runs the hub"),
        # Also one that somebody made with adduser.
        ("jupyterhub", 1005, "runs the hub"),
        ("daemon", 1, r"system account \(uid 1\)"),
        ("nobody", 65534, r"system account \(uid 65534\)"),
    ],
)
def test_who_can_never_be_a_member_even_when_in_the_group(people: People, name: str, uid: int, text: str) -> None:
    one = people.add(name, uid, accounts.MEMBER_GROUP, gid=uid)
    error = never_a_member(one)
    assert isinstance(error, RefusedError)
    with pytest.raises(RefusedError, match=text):
        raise error
    assert not is_member(one)


def test_a_person_in_the_group_is_a_member(people: People) -> None:
    assert is_member(people.add("anna", 1001, accounts.MEMBER_GROUP))
    assert is_member(people.add("ben", 1002, gid=people.groups[accounts.MEMBER_GROUP][0]))


def test_a_person_outside_the_group_is_none(people: People) -> None:
    people.group("jupyterhub_family", 300)
    assert not is_member(people.add("ben", 1002, accounts.DELEGATE_GROUP, "sudo", "jupyterhub_family"))
    assert never_a_member(account("ben", 1002)) is None


def test_groups_that_make_an_administrator(people: People) -> None:
    for number, name in enumerate(("docker", "libvirt", "disk", "lxd", "shadow", "audio"), start=300):
        people.group(name, number)
    ben = people.add("ben", 1002, "sudo", "docker", "audio", accounts.MEMBER_GROUP)
    assert accounts.administrator_groups(ben) == ["docker", "sudo"]
    assert accounts.administrator_groups(people.add("anna", 1001, accounts.MEMBER_GROUP, "audio")) == []
    for name in ("libvirt", "disk", "lxd", "shadow"):
        assert accounts.administrator_groups(people.add(f"c-{name}", 1010, name)) == [name]


@pytest.mark.parametrize(
    ("uid", "holder"),
    [(1001, 1001), (100000, 1001), (165535, 1001), (165536, 1002), (165537, None), (300000, None), (4711, None)],
)
def test_whose_a_number_is(
    people: People, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, holder: Optional[int]
) -> None:
    people.add("anna", 1001)
    people.add("ben", 1002)
    (tmp_path / "subuid").write_text("anna:100000:65536\n1002:165536:1\ngone:300000:65536\nbad:x:y\n\n:::\n")
    monkeypatch.setattr(accounts, "SUBORDINATE_UIDS", tmp_path / "subuid")
    assert accounts.holder_of(uid) == holder
    monkeypatch.setattr(accounts, "SUBORDINATE_UIDS", tmp_path / "nowhere")
    assert accounts.holder_of(1001) == 1001 and accounts.holder_of(100000) is None
