"""Any identity: reads the public half of the family's certificate authority; fingerprints as devices show them.

The files belong to the service account, so they are read as something that anybody could have put there: a plain
file of a reasonable size, and nothing that a link leads to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.system import files

#: Bytes; ours have a few hundred.
MAXIMUM_SIZE = 64 * 1024
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def read_authority(path: Path = paths.AUTHORITY_CERTIFICATE) -> Optional[bytes]:
    """The authority's certificate (DER); None as long as there is none."""
    return first_certificate(read_plain_file(path))


def read_report(path: Path = paths.CERTIFICATE_REPORT) -> dict[str, Any]:
    """What the service says about the certificate in use (service/certificates/ca.py); {} if it says nothing."""
    try:
        report = json.loads(read_plain_file(path) or "{}")
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


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
