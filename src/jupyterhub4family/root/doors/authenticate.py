"""Runs as root through sudo, called by the account `jupyterhub`: the door that checks a member's password.

It may read the password database through PAM, and what an account may become; it answers yes or no and a reason.
Whatever the reason, a no takes the same time, after the same work, so that time tells nothing of who has an account or
is a member.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
import syslog
import threading
import time
from pathlib import Path
from typing import Optional

from jupyterhub4family.common.errors import PermissionRefused, UsageError
from jupyterhub4family.common.i18n.messages import Message, _
from jupyterhub4family.common.protocol import doors, json_lines, serving
from jupyterhub4family.common.state import allowed_administrators
from jupyterhub4family.common.system import accounts
from jupyterhub4family.root.base import sudo_caller
from jupyterhub4family.root.doors import pam, tries
from jupyterhub4family.root.doors.pam import Libpam, Verdict

#: Name of the file in /etc/pam.d.
PAM_SERVICE = "jupyterhub4family"
#: Seconds from the question to a no. Longer than PAM needs, and never the same, as pam_fail_delay(3) advises.
SHORTEST_DELAY, LONGEST_DELAY = 1.5, 2.5
#: Who has no account that may be asked about: PAM is asked about this one instead, and what it says is not believed.
NOBODY = "nobody.at.all"
#: Where a family has changed the PAM file of before 0.2.0, pam_faillock counts here, and needs it to be there.
TALLY_DIRECTORY = Path("/run/jupyterhub4family/faillock")
#: Whom files belong to whose owner cannot be told (proc(5), overflowuid): nobody's account.
_OVERFLOW_UID = 65534
_DEVICE = re.compile(r"[0-9a-f]{32}|")


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
    began = time.monotonic()
    untrusted_name, password = request.name, request.password
    address = json_lines.clean_text(request.address, _("the address"), 64)
    if len(password) > 1024 or "\0" in password or not _is_text(password):
        raise UsageError(_("the password is too long, contains a NUL or is not text"))
    device = request.device or ""
    if not _DEVICE.fullmatch(device):
        raise UsageError(_("the device is not one that the hub has named"))
    verdict = _look(untrusted_name, password, address, device)
    if not verdict.allowed:
        where = address or "an unknown address"
        _record(f"refused {untrusted_name[:32]!r} from {where}{' (known device)' if device else ''}: {verdict.reason}")
    if verdict.reason == "refused":
        import random  # whose loading nobody has to wait for who gave the right password

        delay = random.SystemRandom().uniform(SHORTEST_DELAY, LONGEST_DELAY)
        time.sleep(max(0.0, began + delay - time.monotonic()))
    return verdict


def _look(untrusted_name: str, password: str, address: str, device: str) -> doors.Verdict:
    """Count, then ask PAM, then count again. The same work for every name that is refused."""
    account = _ordinary_account(untrusted_name)
    is_member = account is not None and accounts.is_member(account)
    attempt = tries.begin(untrusted_name, device, is_member=is_member)
    if attempt is None:
        return doors.Verdict(allowed=False, reason="too-many")
    # Whoever is no member may learn that, with the right password; at some tries an hour nobody is guessed at so.
    outsider = tries.begin_outsider(account.pw_name) if account is not None and not is_member else None
    askable = account if is_member or outsider is not None else None
    TALLY_DIRECTORY.mkdir(mode=0o700, parents=True, exist_ok=True)
    ways = _Ways(askable if is_member and askable is not None else _somebody())
    found = Libpam().check(PAM_SERVICE, askable.pw_name if askable else NOBODY, password, address)
    if askable is None:
        pam.hash_in_vain(password)
    ways.join()
    if found.is_broken or (askable is not None and found.knew_the_password):
        tries.forgive(attempt, outsider)
    if found.is_broken:
        return doors.Verdict(allowed=False, reason="broken")
    if askable is None or not found.knew_the_password:
        return doors.Verdict(allowed=False, reason="refused")
    if not is_member:
        return doors.Verdict(allowed=False, reason="no-member")
    reason = _refused_administrator(askable, ways) if found.allowed else _reason(found)
    return doors.Verdict(allowed=not reason, reason=reason, name="" if reason else askable.pw_name)


def _is_text(untrusted: str) -> bool:
    """Whether UTF-8 can say it: JSON can also spell halves of characters."""
    try:
        untrusted.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _ordinary_account(untrusted_name: str) -> Optional[pwd.struct_passwd]:
    """The account called exactly like this, if it is one that could be a member's: not root's, not the system's."""
    try:
        account = pwd.getpwnam(untrusted_name)
    except (KeyError, ValueError, UnicodeEncodeError):
        return None
    return account if account.pw_name == untrusted_name and not accounts.never_a_member(account) else None


def _somebody() -> pwd.struct_passwd:
    """In whose place nobody is looked at: the account of nobody's files, or the hub's."""
    try:
        return pwd.getpwuid(_OVERFLOW_UID)
    except KeyError:
        return pwd.getpwnam(accounts.SERVICE_ACCOUNT)


class _Ways(threading.Thread):
    """Looks up by which ways an account can become root while PAM compares the password, which takes twice as long."""

    def __init__(self, account: pwd.struct_passwd) -> None:
        super().__init__(daemon=True)
        self._account = account
        self._found: list[Message] = []
        self._problem: Optional[BaseException] = RuntimeError("nobody has looked")
        self.start()

    def run(self) -> None:
        """Runs in a thread of its own; what goes wrong is raised where the answer is asked for."""
        try:
            # Loading it takes half as long as asking.
            from jupyterhub4family.root.doors import administrators

            self._found = administrators.ways_to_root(self._account)
            self._problem = None
        except BaseException as error:
            self._problem = error

    def check(self) -> None:
        """As `administrators.check`."""
        self.join()
        if self._problem is not None:
            raise self._problem
        if self._found:
            from jupyterhub4family.root.doors import administrators

            raise PermissionRefused(administrators.reason_to_refuse(self._account, self._found))


def _refused_administrator(account: pwd.struct_passwd, ways: _Ways) -> str:
    """`administrator` if the account can become root and root has not allowed it to log in; empty if all is well."""
    if allowed_administrators.is_allowed(account):
        return ""
    try:
        ways.check()
    except PermissionRefused as error:
        _record(str(error.message))
        return "administrator"
    return ""


def _reason(verdict: Verdict) -> str:
    """Why PAM found no to a member who knew the password."""
    if verdict.account == pam.PAM_ACCT_EXPIRED:
        return "account-expired"
    if verdict.account == pam.PAM_NEW_AUTHTOK_REQD:
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
