"""Runs as the caller, who must be root: keeps a certificate that the family has from elsewhere (`cert use`)."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from pathlib import Path

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError, RefusedError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.system import files, network, programs

#: Bytes; a chain of certificates has a few thousand.
MAXIMUM_SIZE = 256 * 1024


def read(path: Path) -> str:
    """The text of a PEM file. Raises FamilyError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAXIMUM_SIZE + 1)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise FamilyError(_("{file} cannot be read: {error}", file=str(path), error=str(error))) from error
    if len(data) > MAXIMUM_SIZE or "-----BEGIN " not in text:
        raise FamilyError(_("{file} is not a PEM file", file=str(path)), _("it begins with a line like -----BEGIN …"))
    return text


def check(certificate: str, key: str) -> None:
    """Raise RefusedError unless the certificate is valid now and the key is its own, without a passphrase.

    Both reach openssl by its stdin, so that no process list and no file shows the key.
    """
    public = programs.run(["openssl", "x509", "-noout", "-pubkey"], text_input=certificate, check=False)
    if public.returncode:
        raise RefusedError(_("the first file contains no certificate"), "jupyterhub4family cert use " + _("CERT KEY"))
    own = programs.run(["openssl", "pkey", "-pubout", "-passin", "pass:"], text_input=key, check=False)
    if own.returncode:
        raise RefusedError(
            _("the second file contains no key that can be read without a passphrase"),
            _("write it without one: openssl pkey -in KEY -out PLAIN_KEY"),
        )
    if own.stdout.strip() != public.stdout.strip():
        raise RefusedError(_("the key belongs to another certificate"), _("give the two files of one certificate"))
    if programs.run(["openssl", "x509", "-noout", "-checkend", "0"], text_input=certificate, check=False).returncode:
        raise RefusedError(_("the certificate has expired"), _("get a new one from where this one came from"))


def missing_names(certificate: str) -> list[str]:
    """Names and addresses of this computer that the certificate is not good for."""
    found = []
    for option, names in (("-checkhost", network.host_names()), ("-checkip", network.lan_addresses())):
        for name in names:
            text = programs.run(["openssl", "x509", "-noout", option, name], text_input=certificate, check=False).stdout
            if not re.search(r"does match certificate", text):
                found.append(name)
    return found


def install(certificate: str, key: str, account: pwd.struct_passwd) -> None:
    """Keep both where the portal looks; the key can be read by root and the service account only."""
    paths.OWN_TLS.mkdir(mode=0o755, parents=True, exist_ok=True)
    paths.OWN_TLS.chmod(0o755)
    try:
        files.write_atomically(paths.OWN_TLS / "portal.key", key, 0o400)
        os.chown(paths.OWN_TLS / "portal.key", account.pw_uid, 0)
        # Last: this is what the portal notices. Until then it goes on with what it has.
        files.write_atomically(paths.OWN_TLS / "portal.crt", certificate, 0o644)
    except OSError as error:
        raise FamilyError(_("{file} cannot be written: {error}", file=str(paths.OWN_TLS), error=str(error))) from error


def forget() -> None:
    """Take both away again."""
    for name in ("portal.crt", "portal.key"):
        (paths.OWN_TLS / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.OWN_TLS.rmdir()
