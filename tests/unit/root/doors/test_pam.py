"""root.pam: only two yeses are a yes. What libpam makes of a password is seen on real machines."""

from __future__ import annotations

from jupyterhub4family.root.doors.pam import PAM_SUCCESS, Verdict


def test_two_yeses_allow() -> None:
    assert Verdict(PAM_SUCCESS, PAM_SUCCESS).allowed


def test_any_other_answer_of_either_step_refuses() -> None:
    for number in (*range(1, 32), -1, 256):
        for verdict in (Verdict(PAM_SUCCESS, number), Verdict(number, PAM_SUCCESS), Verdict(number, number)):
            assert not verdict.allowed, verdict
