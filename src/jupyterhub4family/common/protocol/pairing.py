"""Any identity: the line that the hub shows and somebody pastes on the node, by which each knows the other.

It lets nobody in: the key in it is a public one. Who has seen it could play the node to the hub until the pairing is
done, for it holds the secret with which the node proves that it was given the line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

from jupyterhub4family.common import patterns, records
from jupyterhub4family.common.errors import RefusedError, UsageError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import shapes
from jupyterhub4family.common.system import accounts

#: How a line begins; another number means that an older version cannot read it.
PREFIX = "jh4f1."
#: Characters. Two hundred names of members fit in.
LONGEST = 8192
#: Seconds for which a line is good, by the node's clock, which may go so much before or after the hub's.
GOOD_FOR = 2 * 3600
#: Characters of the digest by which a line that was cut is recognized.
_SUM = 16
_KEY = patterns.compiled(r"ssh-ed25519 [A-Za-z0-9+/]{68}")
_SECRET = patterns.compiled(r"[A-Za-z0-9_-]{22,64}")


@records.dataclass(frozen=True)
class Invitation:
    """What the hub tells the node: its public key, a secret for this pairing, its name, who its members are.

    `uids`: the members' names with their numbers on the hub, for who wants to give them the same ones on the node.
    """

    key: str
    secret: str = records.field(repr=False)
    hub: str
    #: When the line was shown, in seconds since 1970.
    time: int
    uids: dict[str, int] = records.field(default_factory=dict)


def write_line(invitation: Invitation) -> str:
    """The line, in one word without a space."""
    data = json.dumps(shapes.encode(invitation), separators=(",", ":"), sort_keys=True).encode("utf-8")
    packed = base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
    return f"{PREFIX}{packed}.{_digest(packed)}"


def read_line(untrusted_line: str, now: float) -> Invitation:
    """What a line says. Raises UsageError for one that is not whole, RefusedError for one that is not good at `now`."""
    invitation = _parsed("".join(untrusted_line.split()))
    if now - invitation.time > GOOD_FOR:
        raise RefusedError(
            _("this line is from an earlier time and is not good any more"),
            _("have the hub show a new one: {command}", command="sudo jupyterhub4family node add NAME ADDRESS"),
        )
    if invitation.time - now > GOOD_FOR:
        raise RefusedError(
            _("by this computer's clock the line was made in the future"),
            _("set the clock: {command}", command="sudo timedatectl set-ntp true"),
        )
    return invitation


def proof(secret: str, host_key: str) -> str:
    """What only who was given the line can say about its host key (type and key, as in the file of the public one)."""
    return hmac.new(secret.encode("utf-8"), host_key.encode("utf-8"), hashlib.sha256).hexdigest()


def _digest(packed: str) -> str:
    return hashlib.sha256(packed.encode("ascii", "replace")).hexdigest()[:_SUM]


def _parsed(untrusted: str) -> Invitation:
    packed, _dot, digest = untrusted[len(PREFIX) :].rpartition(".")
    is_whole = untrusted.startswith(PREFIX) and len(untrusted) <= LONGEST
    if not is_whole or not hmac.compare_digest(_digest(packed).encode(), digest.encode("utf-8", "replace")):
        raise _not_whole()
    try:
        data: Any = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-8"))
        if not isinstance(data, dict):
            raise _not_whole()
        invitation = shapes.decode_request(Invitation, data)
        for name in invitation.uids:
            accounts.check_name(name)
    except (ValueError, RecursionError, binascii.Error, UsageError, RefusedError):
        raise _not_whole() from None
    if not _KEY.fullmatch(invitation.key) or not _SECRET.fullmatch(invitation.secret):
        raise _not_whole()
    return invitation


def _not_whole() -> UsageError:
    return UsageError(
        _("this is not the whole line that the hub has shown"),
        _("copy all of it, from {start} to its end", start=PREFIX),
    )
