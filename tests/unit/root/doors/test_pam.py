"""root.pam: only two yeses are a yes, and which questions are answered. What libpam makes of a password is seen on
real machines."""

from __future__ import annotations

import ctypes
import time

from jupyterhub4family.root.doors.pam import (
    BROKEN,
    PAM_CONV_ERR,
    PAM_PROMPT_ECHO_OFF,
    PAM_PROMPT_ECHO_ON,
    PAM_SUCCESS,
    Libpam,
    Verdict,
    _Message,
    _Response,
    hash_in_vain,
)


def test_two_yeses_allow() -> None:
    assert Verdict(PAM_SUCCESS, PAM_SUCCESS).allowed


def test_any_other_answer_of_either_step_refuses() -> None:
    for number in (*range(1, 32), -1, 256):
        for verdict in (Verdict(PAM_SUCCESS, number), Verdict(number, PAM_SUCCESS), Verdict(number, number)):
            assert not verdict.allowed, verdict


def test_what_is_broken_is_neither_a_yes_nor_a_no() -> None:
    for code in BROKEN:
        assert Verdict(code, PAM_CONV_ERR).is_broken and Verdict(PAM_SUCCESS, code).is_broken
        assert not Verdict(code, PAM_CONV_ERR).knew_the_password
    # PAM_AUTH_ERR, PAM_AUTHINFO_UNAVAIL, PAM_USER_UNKNOWN, PAM_MAXTRIES, PAM_PERM_DENIED, and codes of the account.
    for code in (7, 9, 10, 8, 6, 11, 12, 13):
        assert not Verdict(code, PAM_CONV_ERR).is_broken and not Verdict(PAM_SUCCESS, code).is_broken


def test_hashing_in_vain_is_work() -> None:
    for password in ("x", "x" * 1024, "süß", ""):
        before = time.process_time()
        hash_in_vain(password)
        # What crypt(3) takes is some hundredths of a second; longer words than 512 bytes no account has.
        assert len(password) > 512 or time.process_time() - before > 0.002, password[:4]


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
