"""Any identity: what each exit status means, in a few words, for the manual."""

from __future__ import annotations

from jupyterhub4family.common.errors import ExitStatus
from jupyterhub4family.common.i18n.messages import N_

STATUS_MEANINGS = {
    ExitStatus.OK: N_("Success."),
    ExitStatus.FAILURE: N_("Failure, for a reason that has no number of its own."),
    ExitStatus.USAGE: N_("Usage error: the command is not written as it should be."),
    ExitStatus.REFUSED: N_("Refused: understood, but not allowed."),
    ExitStatus.PERMISSION: N_("Permission denied: the caller lacks the rights."),
    ExitStatus.UNKNOWN_ACCOUNT: N_("There is no such Debian account."),
    ExitStatus.NOT_RUNNING: N_(
        "Not running: nobody can log in, because JupyterHub is stopped, starting or being set up."
    ),
    ExitStatus.NETWORK: N_("Something could not be fetched."),
    ExitStatus.CONFIGURATION: N_("The settings file cannot be used."),
    ExitStatus.PORT_TAKEN: N_("Another program has the portal's port."),
    ExitStatus.DISK_FULL: N_("No space left."),
}
