"""Any identity: reads the public half of the family's certificate authority; fingerprints as devices show them.

The files belong to the service account, so they are read as something that anybody could have put there: a plain
file of a reasonable size, and nothing that a link leads to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths, records
from jupyterhub4family.common.errors import UsageError
from jupyterhub4family.common.protocol import shapes
from jupyterhub4family.common.system import files

#: Bytes; ours have a few hundred.
MAXIMUM_SIZE = 64 * 1024
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def read_authority(path: Path = paths.AUTHORITY_CERTIFICATE) -> Optional[bytes]:
    """The authority's certificate (DER); None as long as there is none."""
    return first_certificate(read_plain_file(path))


@records.dataclass(frozen=True)
class CertificateReport:
    """One certificate: when it ends (ISO 8601), its fingerprint, and the names it is for."""

    ends: str
    fingerprint: str
    names: list[str] = records.field(default_factory=list)


@records.dataclass(frozen=True)
class Report:
    """What the service says about the certificate in use (service/certificates/ca.py)."""

    #: `ca` or `own`.
    source: str
    certificate: CertificateReport
    #: Missing with a certificate of the family's own.
    authority: Optional[CertificateReport] = None
    #: Names that the authority may not sign.
    left_out: list[str] = records.field(default_factory=list)


def read_report(path: Path = paths.CERTIFICATE_REPORT) -> dict[str, Any]:
    """What the service says about the certificate in use, as it stands there; {} if it says nothing."""
    report = files.read_json(path, MAXIMUM_SIZE)
    return report if isinstance(report, dict) else {}


def understood(report: dict[str, Any]) -> Optional[Report]:
    """The same, checked and printable; None if it makes no sense."""
    try:
        return shapes.decode_answer(Report, report)
    except UsageError:
        return None


def read_plain_file(path: Path) -> str:
    """The text of a small plain file; "" if it is something else or cannot be read."""
    try:
        return (files.read_untrusted(path, MAXIMUM_SIZE) or b"").decode("ascii")
    except UnicodeDecodeError:
        return ""


def first_certificate(pem: str) -> Optional[bytes]:
    """The first certificate (DER) of a PEM text; None if there is none."""
    found = _PEM.search(pem)
    try:
        return base64.b64decode("".join(found[1].split()), validate=True) if found else None
    except binascii.Error:
        return None


def to_pem(der: bytes) -> str:
    """A certificate as text."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, as devices show it: pairs of hexadecimal digits in upper case with colons."""
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())
