"""The line by which hub and node are paired: whole, of today, and nothing else."""

from __future__ import annotations

import base64
import json

import pytest

from jupyterhub4family.common import records
from jupyterhub4family.common.errors import RefusedError, UsageError
from jupyterhub4family.common.protocol import pairing

NOW = 1_800_000_000
KEY = "ssh-ed25519 " + "A" * 68
INVITATION = pairing.Invitation(KEY, "s" * 22, "laptop", NOW, {"anna": 1000, "ben": 1001})
LINE = pairing.write_line(INVITATION)


def packed(data: object) -> str:
    """A line with these contents, whole and in order otherwise."""
    text = base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")
    return f"{pairing.PREFIX}{text}.{pairing._digest(text)}"


def test_what_was_written_is_read() -> None:
    assert pairing.read_line(LINE, NOW) == INVITATION
    assert " " not in LINE
    assert "\n" not in LINE


def test_a_line_that_a_terminal_has_broken_is_read() -> None:
    broken = "\n  ".join(LINE[start : start + 60] for start in range(0, len(LINE), 60))
    assert pairing.read_line(f"  {broken}\n", NOW) == INVITATION


def test_a_line_that_was_cut_anywhere_is_refused() -> None:
    for end in range(len(LINE)):
        with pytest.raises(UsageError):
            pairing.read_line(LINE[:end], NOW)


def test_a_line_with_another_character_anywhere_is_refused() -> None:
    for place, character in enumerate(LINE):
        other = "B" if character == "A" else "A"
        with pytest.raises(UsageError):
            pairing.read_line(LINE[:place] + other + LINE[place + 1 :], NOW)


@pytest.mark.parametrize("apart", [-3600, 0, 3600, pairing.GOOD_FOR])
def test_clocks_may_be_an_hour_apart(apart: int) -> None:
    assert pairing.read_line(LINE, NOW + apart) == INVITATION


@pytest.mark.parametrize("apart", [-pairing.GOOD_FOR - 1, pairing.GOOD_FOR + 1])
def test_a_line_of_another_time_is_refused(apart: int) -> None:
    with pytest.raises(RefusedError):
        pairing.read_line(LINE, NOW + apart)


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "ssh-rsa " + "A" * 68},
        {"key": KEY + "\nssh-ed25519 " + "B" * 68},
        {"key": f'command="sh" {KEY}'},
        {"secret": ""},
        {"secret": "s" * 22 + "\n"},
        {"uids": {"Anna Smith": 1000}},
        {"uids": {"anna": "1000"}},
        {"time": "now"},
        {"more": 1},
    ],
)
def test_a_whole_line_with_something_else_in_it_is_refused(changes: dict[str, object]) -> None:
    data = {"key": KEY, "secret": "s" * 22, "hub": "laptop", "time": NOW, "uids": {}}
    assert pairing.read_line(packed(data), NOW).hub == "laptop"
    with pytest.raises(UsageError):
        pairing.read_line(packed({**data, **changes}), NOW)


@pytest.mark.parametrize("untrusted", ["", "jh4f1.", "jh4f1..", "jh4f2.x.y", "a" * 10_000, "jh4f1.ä.ö"])
def test_what_is_no_line_is_refused(untrusted: str) -> None:
    with pytest.raises(UsageError):
        pairing.read_line(untrusted, NOW)


@pytest.mark.parametrize("data", [[], "text", 1, None])
def test_a_line_with_no_object_in_it_is_refused(data: object) -> None:
    with pytest.raises(UsageError):
        pairing.read_line(packed(data), NOW)


def test_two_hundred_members_fit() -> None:
    many = records.replace(INVITATION, uids={f"member-{number:03}": 1000 + number for number in range(200)})
    assert pairing.read_line(pairing.write_line(many), NOW) == many


def test_no_repr_shows_the_secret() -> None:
    assert INVITATION.secret not in repr(INVITATION)


def test_only_who_knows_the_secret_can_prove_a_host_key() -> None:
    proof = pairing.proof("secret", KEY)
    assert proof == pairing.proof("secret", KEY)
    assert len({proof, pairing.proof("other", KEY), pairing.proof("secret", KEY + "B")}) == 3
