"""root.pam: only two yeses are a yes. What libpam makes of a password is seen on real machines."""

from __future__ import annotations

import pytest

from jupyterhub4family.root.pam import PAM_SUCCESS, Verdict


def test_two_yeses_allow() -> None:
    assert Verdict(PAM_SUCCESS, PAM_SUCCESS).allowed


@pytest.mark.parametrize("number", [*range(1, 32), -1, 256])
def test_any_other_answer_of_either_step_refuses(number: int) -> None:
    assert not Verdict(PAM_SUCCESS, number).allowed
    assert not Verdict(number, PAM_SUCCESS).allowed
    assert not Verdict(number, number).allowed
