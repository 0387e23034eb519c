"""Runs as root through sudo, called by the account `jupyterhub`: the door that checks a member's password.

It may read the password database through PAM and nothing else; it answers yes or no and a reason. Who is no
member is refused before PAM is asked, as slowly as a wrong password, so that time tells nothing.
"""

from __future__ import annotations

import os
import pwd
import random
import sys
import syslog
import time
from pathlib import Path

from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import doors, json_lines, serving
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.base import sudo_caller
from jupyterhub4family.root.doors import pam
from jupyterhub4family.root.doors.pam import Libpam, Verdict

#: Name of the file in /etc/pam.d.
PAM_SERVICE = "jupyterhub4family"
#: Seconds: pam_unix asks for two after a wrong password, and libpam varies them by a quarter (pam_fail_delay(3)).
SHORTEST_DELAY, LONGEST_DELAY = 1.5, 2.5
#: pam_faillock counts here (see data/etc/pam.d); it does not make the directory by itself in Debian 11.
TALLY_DIRECTORY = Path("/run/jupyterhub4family/faillock")


def main() -> int:
    """Answer one request; exit status 0 whether the password is right or wrong."""
    return serving.serve(_check_caller, HANDLERS)


def _check_caller() -> None:
    """Raise PermissionRefused unless the hub's account or root calls."""
    sudo_caller.require_root()
    caller = sudo_caller.calling_account()
    if caller is not None and caller.pw_name != accounts.SERVICE_ACCOUNT:
        raise PermissionRefused(_("only the hub may ask for passwords to be checked"))


def authenticate(_caller: None, request: doors.Login) -> doors.Verdict:
    """Check the name and the password of `request`. Raises UsageError for what no login page sends."""
    untrusted_name, password = request.name, request.password
    address = json_lines.clean_text(request.address, _("the address"), 64)
    if len(password) > 1024 or "\0" in password or not _is_text(password):
        raise UsageError(_("the password is too long, contains a NUL or is not text"))
    account = _member(untrusted_name)
    if account is None:
        _record(f"refused {untrusted_name[:32]!r} from {address or 'an unknown address'}: no member")
        time.sleep(random.SystemRandom().uniform(SHORTEST_DELAY, LONGEST_DELAY))
        return doors.Verdict(allowed=False, reason="refused")
    TALLY_DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    verdict = Libpam().check(PAM_SERVICE, account.pw_name, password, address)
    if verdict.allowed:
        return doors.Verdict(allowed=True, name=account.pw_name)
    reason = _reason(verdict)
    _record(f"refused {account.pw_name!r} from {address or 'an unknown address'}: {reason}")
    return doors.Verdict(allowed=False, reason=reason)


def _is_text(untrusted: str) -> bool:
    """Whether UTF-8 can say it: JSON can also spell halves of characters."""
    try:
        untrusted.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _member(untrusted_name: str) -> pwd.struct_passwd | None:
    """The account called exactly like this, if it is a member's."""
    try:
        account = pwd.getpwnam(untrusted_name)
    except (KeyError, ValueError, UnicodeEncodeError):
        return None
    return account if account.pw_name == untrusted_name and accounts.is_member(account) else None


def _reason(verdict: Verdict) -> str:
    """Why PAM said no. The account's state is told only to who knew the password."""
    if verdict.authentication == 0 and verdict.account == pam.PAM_ACCT_EXPIRED:
        return "account-expired"
    if verdict.authentication == 0 and verdict.account == pam.PAM_NEW_AUTHTOK_REQD:
        return "password-expired"
    return "refused"


def _record(message: str) -> None:
    """Into the system's log for logins (auth.log, or the journal)."""
    syslog.openlog("jupyterhub4family", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, message)


HANDLERS = (serving.on(doors.CHECK_PASSWORD, authenticate),)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
