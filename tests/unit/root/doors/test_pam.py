"""root.pam: only two yeses are a yes, and which questions are answered. What libpam makes of a password is seen on
real machines."""

from __future__ import annotations

import ctypes

from jupyterhub4family.root.doors.pam import (
    PAM_PROMPT_ECHO_OFF,
    PAM_PROMPT_ECHO_ON,
    PAM_SUCCESS,
    Libpam,
    Verdict,
    _Message,
    _Response,
)


def test_two_yeses_allow() -> None:
    assert Verdict(PAM_SUCCESS, PAM_SUCCESS).allowed


def test_any_other_answer_of_either_step_refuses() -> None:
    for number in (*range(1, 32), -1, 256):
        for verdict in (Verdict(PAM_SUCCESS, number), Verdict(number, PAM_SUCCESS), Verdict(number, number)):
            assert not verdict.allowed, verdict


def test_the_password_answers_hidden_prompts_and_no_others() -> None:
    """Called through C, as libpam calls it: in memory that libpam frees, one answer for each message."""
    styles = (PAM_PROMPT_ECHO_ON, PAM_PROMPT_ECHO_OFF, 3, 4, PAM_PROMPT_ECHO_OFF)
    messages = [_Message(style, b"?") for style in styles]
    pointers = (ctypes.POINTER(_Message) * len(messages))(*map(ctypes.pointer, messages))
    answers = ctypes.POINTER(_Response)()
    libpam = Libpam()
    converse = libpam._answer_with("süß".encode())
    assert converse(len(messages), pointers, ctypes.pointer(answers), None) == PAM_SUCCESS
    free = ctypes.CDLL(None).free
    free.argtypes, free.restype = [ctypes.c_void_p], None
    texts = [ctypes.string_at(answers[index].text) if answers[index].text else None for index in range(len(styles))]
    assert texts == [b"", "süß".encode(), None, None, "süß".encode()]
    assert [answers[index].status for index in range(len(styles))] == [0] * len(styles)
    for index in range(len(styles)):
        free(answers[index].text)
    free(ctypes.cast(answers, ctypes.c_void_p))
