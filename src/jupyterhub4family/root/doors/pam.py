"""Runs as root, only inside the door `authenticate`: a password check through libpam.

Why an own binding: of the two that Debian packages, python3-pampy does not ask for the account's validity
in Debian 11 (pam_acct_mgmt is missing in 1.8) and cannot pass on the address of the browser (PAM_RHOST), and
python3-pam, whose verdicts are the same, can be crashed by what a PAM module says. See
docs/adr/0003-authenticate-door.md.
"""

from __future__ import annotations

import contextlib
import ctypes

from jupyterhub4family.common import records

#: Item and message numbers from /usr/include/security/_pam_types.h (Linux-PAM).
PAM_SUCCESS = 0
PAM_NEW_AUTHTOK_REQD = 12
PAM_ACCT_EXPIRED = 13
PAM_CONV_ERR = 19
PAM_RHOST = 4
PAM_FAIL_DELAY = 10
PAM_PROMPT_ECHO_OFF = 1
PAM_PROMPT_ECHO_ON = 2
PAM_DISALLOW_NULL_AUTHTOK = 1
PAM_SILENT = 0x8000
#: What PAM says when a file or a module is broken, so that it knows nothing of any password: PAM_OPEN_ERR,
#: PAM_SYMBOL_ERR, PAM_SERVICE_ERR, PAM_SYSTEM_ERR, PAM_BUF_ERR, PAM_ABORT, PAM_MODULE_UNKNOWN, PAM_BAD_ITEM. Not
#: PAM_AUTHINFO_UNAVAIL: pam_unix says so of a single account that has no line in /etc/shadow.
BROKEN = frozenset({1, 2, 3, 4, 5, 26, 28, 29})


#: The names are part of these libraries' interface: with another one they would be others. Asking for them
#: (ctypes.util) runs a program, and costs each login four milliseconds.
LIBPAM, LIBCRYPT = "libpam.so.0", "libcrypt.so.1"
#: How Debian 11, 12 and 13 hash passwords unless told otherwise (login.defs(5), crypt(5)), with a salt of nobody's.
_USUAL_HASH = b"$y$j9T$jupyterhub4family00000$"


def hash_in_vain(password: str) -> None:
    """Work as long as PAM does to compare a password; pam_unix does not for names that it does not know."""
    with contextlib.suppress(OSError):
        libcrypt = ctypes.CDLL(LIBCRYPT)
        libcrypt.crypt.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        libcrypt.crypt.restype = ctypes.c_char_p
        libcrypt.crypt(password.encode("utf-8"), _USUAL_HASH)


class _Message(ctypes.Structure):
    _fields_ = [("style", ctypes.c_int), ("text", ctypes.c_char_p)]


class _Response(ctypes.Structure):
    # `text` is freed by libpam, so it must be malloc'ed memory: a bare address, not a Python object.
    _fields_ = [("text", ctypes.c_void_p), ("status", ctypes.c_int)]


_Converse = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)


#: What libpam calls in place of waiting after a wrong password: the door waits by itself, everybody for as long.
_DelayInstead = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = [("converse", _Converse), ("data", ctypes.c_void_p)]


@records.dataclass(frozen=True)
class Verdict:
    """What PAM said: both steps' return codes, and whether they allow the login."""

    authentication: int
    account: int

    @property
    def allowed(self) -> bool:
        """Whether the password is right and the account may be used."""
        return self.authentication == PAM_SUCCESS and self.account == PAM_SUCCESS

    @property
    def knew_the_password(self) -> bool:
        """Whether the password is right, whatever the account's state is."""
        return self.authentication == PAM_SUCCESS

    @property
    def is_broken(self) -> bool:
        """Whether PAM could not find out."""
        last = self.account if self.knew_the_password else self.authentication
        return last in BROKEN


class Libpam:
    """The few functions of libpam that a password check needs. Raises OSError if libpam is missing."""

    def __init__(self) -> None:
        self._pam = ctypes.CDLL(LIBPAM)
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = ctypes.c_void_p
        self._libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        self._libc.strdup.restype = ctypes.c_void_p
        self._libc.strdup.argtypes = [ctypes.c_char_p]
        handle, number = ctypes.c_void_p, ctypes.c_int
        self._pam.pam_start.argtypes = [
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.POINTER(_Conversation),
            ctypes.POINTER(handle),
        ]
        self._pam.pam_set_item.argtypes = [handle, number, ctypes.c_void_p]
        self._without_delay = _DelayInstead(lambda _code, _microseconds, _data: None)
        for function in (self._pam.pam_authenticate, self._pam.pam_acct_mgmt, self._pam.pam_end):
            function.argtypes = [handle, number]

    def check(self, service: str, name: str, password: str, address: str) -> Verdict:
        """Ask PAM's `service` whether `password` is that of the account `name`.

        `address` is recorded as the remote host. Returns at once also when the password is wrong. Raises OSError when
        PAM cannot be started.
        """
        conversation = _Conversation(self._answer_with(password.encode("utf-8")), None)
        handle = ctypes.c_void_p()
        started = self._pam.pam_start(service.encode(), name.encode(), ctypes.byref(conversation), ctypes.byref(handle))
        if started != PAM_SUCCESS:
            raise OSError(f"PAM could not be started for service {service} (error {started})")
        account = authentication = PAM_CONV_ERR
        try:
            self._pam.pam_set_item(handle, PAM_RHOST, address.encode("utf-8"))
            self._pam.pam_set_item(handle, PAM_FAIL_DELAY, ctypes.cast(self._without_delay, ctypes.c_void_p))
            authentication = self._pam.pam_authenticate(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK)
            if authentication == PAM_SUCCESS:
                account = self._pam.pam_acct_mgmt(handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK)
        finally:
            self._pam.pam_end(handle, account if authentication == PAM_SUCCESS else authentication)
        return Verdict(authentication, account)

    def _answer_with(self, password: bytes) -> ctypes._CFunctionType:
        """A conversation that answers hidden prompts with the password and every other one with nothing."""

        def converse(count: int, messages: object, responses: object, _data: object) -> int:
            answers = self._libc.calloc(count, ctypes.sizeof(_Response))
            if not answers:
                return PAM_CONV_ERR
            array = ctypes.cast(answers, ctypes.POINTER(_Response))
            for index in range(count):
                style = messages[index].contents.style  # type: ignore[index]
                if style == PAM_PROMPT_ECHO_OFF:
                    array[index].text = self._libc.strdup(password)
                elif style == PAM_PROMPT_ECHO_ON:
                    array[index].text = self._libc.strdup(b"")
            responses[0] = array  # type: ignore[index]
            return PAM_SUCCESS

        # Kept on self: libpam calls it after this function has returned.
        self._converse = _Converse(converse)
        return self._converse
