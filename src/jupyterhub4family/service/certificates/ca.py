"""Runs as jupyterhub, called by the proxy and, through runuser, by root's `cert`: the certificates of the portal.

A certificate authority of the family's own signs one certificate for this machine's names and addresses. Everything
is checked at each call and mended or renewed where needed; why it is done so: docs/adr/0011-own-ca.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any, Optional, Union

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.settings.model import Settings
from jupyterhub4family.common.state import certificates
from jupyterhub4family.common.system import files, network
from jupyterhub4family.service.certificates import names as certificates_names
from jupyterhub4family.service.certificates.names import Names

#: How long a certificate is good for in all. Phones refuse more than 398 days.
LIFETIME = datetime.timedelta(days=397)
#: It begins a little in the past: the clocks of phones and computers differ.
BACKDATED = datetime.timedelta(days=1)
#: So long before it ends there is a new one.
RENEW_BEFORE = datetime.timedelta(days=60)
#: The authority's lifetime does not depend on a clock that may be wrong at the first start.
AUTHORITY_BEGINS = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
AUTHORITY_LIFETIME = datetime.timedelta(days=20 * 365)

Instant = datetime.datetime
Pair = tuple["ec.EllipticCurvePrivateKey", "x509.Certificate"]


def main() -> int:
    """Program `certificates ensure|renew [--new-authority]`; prints what it did, one sentence a line."""
    parser = argparse.ArgumentParser(prog="certificates", description="The certificates of the portal.")
    parser.add_argument("what", choices=("ensure", "renew"))
    parser.add_argument("--new-authority", action="store_true", help="make a new authority as well")
    args = parser.parse_args()
    os.umask(0o077)
    settings, _problem = effective.settings_in_use()
    for message in ensure(settings, renew=args.what == "renew", new_authority=args.new_authority):
        print(f"certificate: {message}", flush=True)
    return 0


def ensure(
    settings: Settings, now: Optional[Instant] = None, renew: bool = False, new_authority: bool = False
) -> list[str]:
    """Make sure of an authority and of a certificate that fits this machine now; returns what was done and why.

    `renew` makes a new certificate in any case, `new_authority` a new authority, which every device has to be told.
    Raises FamilyError when it cannot be written.
    """
    now = now or datetime.datetime.now(datetime.timezone.utc)
    try:
        paths.TLS.mkdir(mode=0o700, exist_ok=True)
        with files.locked(paths.TLS / "lock"):
            return Certificates(settings, now).ensure(renew, new_authority)
    except OSError as error:
        raise FamilyError(
            _("the portal's certificate cannot be written: {error}", error=str(error)),
            _("see whether the disk is full: df -h /var"),
        ) from error


class Certificates:
    """One look at the certificates, at one moment, with the lock held."""

    def __init__(self, settings: Settings, now: Instant) -> None:
        self._settings = settings
        self._now = now
        self._changes: list[str] = []

    def ensure(self, renew: bool, new_authority: bool) -> list[str]:
        """See `ensure` above."""
        authority = None if new_authority else self._authority()
        if authority is None:
            authority = self._make_authority()
        names = certificates_names.wanted_names(self._settings.extra_names)
        permitted = _permitted(authority[1])
        for key in ("ca.key", "portal.key"):
            with contextlib.suppress(FileNotFoundError):
                (paths.TLS / key).chmod(0o600)
        certificate = self._certificate(authority, certificates_names.fitting(names, permitted), renew)
        self._write_public(authority[1], certificate, names, permitted)
        return self._changes

    # -- the authority --------------------------------------------------------------------------

    def _authority(self) -> Optional[Pair]:
        """The authority there is; None if there is none or it is damaged."""
        key, certificate = _read_key(paths.TLS / "ca.key"), _read_certificate(paths.TLS / "ca.crt")
        if key is None and certificate is None and not (paths.TLS / "ca.crt").exists():
            return None
        if key is None or certificate is None or not _match(key, certificate) or not _permitted(certificate):
            self._changes.append(_("the family's authority was damaged; every device needs the new one"))
            return None
        # An authority that the clock calls expired stays: the clock may be wrong, and every device knows this one.
        return key, certificate

    def _make_authority(self) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        names = certificates_names.wanted_names(self._settings.extra_names)
        certificate = _authority_certificate(key, names, self._now)
        # The key first: without it the certificate is worth nothing, and the other way round nothing is lost.
        _write(paths.TLS / "ca.key", _key_to_pem(key))
        _write(paths.TLS / "ca.crt", _to_pem(certificate))
        shown = certificates.fingerprint(_to_der(certificate))
        self._changes.append(_("made the family's authority, fingerprint {fingerprint}", fingerprint=shown))
        return key, certificate

    # -- the portal's certificate ---------------------------------------------------------------

    def _certificate(self, authority: Pair, names: Names, renew: bool) -> x509.Certificate:
        key, certificate = _read_key(paths.TLS / "portal.key"), _read_certificate(paths.TLS / "portal.crt")
        if key is not None and certificate is not None and not renew:
            cause = self._renewal_reason(key, certificate, authority[1], names)
            if not cause:
                return certificate
        else:
            cause = _("it was requested") if renew else _("there was no valid one")
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            _write(paths.TLS / "portal.key", _key_to_pem(key))
        # The key stays: so replacing the certificate is one rename, and there is no moment in which they differ.
        certificate = _portal_certificate(key.public_key(), authority, names, self._now)
        _write(paths.TLS / "portal.crt", _to_pem(certificate))
        self._changes.append(
            _("made a new one for {names}, because {reason}", names=", ".join(names.texts()), reason=cause)
        )
        return certificate

    def _renewal_reason(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, authority: x509.Certificate, names: Names
    ) -> str:
        """Why the certificate has to be replaced; "" if it is good."""
        begins, ends = validity(certificate)
        reasons = {
            _("its key was a different one"): not _match(key, certificate),
            _("the authority has not signed it"): not _signed_by(certificate, authority),
            _("names or addresses of this computer have changed"): set(names.texts()) != set(names_in(certificate)),
            _("by this computer's clock it was not valid yet"): self._now < begins,
            _("it was about to expire"): self._now > ends - RENEW_BEFORE,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    # -- what everybody may know ----------------------------------------------------------------

    def _write_public(
        self, authority: x509.Certificate, certificate: x509.Certificate, names: Names, permitted: Names
    ) -> None:
        left_out = [name for name in names.texts() if name not in certificates_names.fitting(names, permitted).texts()]
        if left_out and self._changes:
            self._changes.append(
                _(
                    "the family's authority may not sign {names}; a new one could, and every device would need it."
                    " Try: sudo jupyterhub4family cert renew --new-authority",
                    names=", ".join(left_out),
                )
            )
        own = _read_certificate(paths.OWN_TLS / "portal.crt")
        report = {
            "source": "own" if own is not None else "authority",
            "certificate": _describe(own if own is not None else certificate),
            "authority": {**_describe(authority), "permitted": permitted.texts()},
            "left_out": left_out,
        }
        for path, text in (
            (paths.AUTHORITY_CERTIFICATE, _to_pem(authority)),
            (paths.CERTIFICATE_REPORT, json.dumps(report, indent=1)),
        ):
            # A missing folder (an older installation) keeps nobody from being served.
            with contextlib.suppress(OSError):
                if not path.exists() or path.read_text("ascii") != text:
                    files.write_atomically(path, text, 0o644)


# -- making them -------------------------------------------------------------------------------------


def _authority_certificate(key: ec.EllipticCurvePrivateKey, names: Names, now: Instant) -> x509.Certificate:
    """A new authority, which can sign for this machine and for private networks, and for nothing else."""
    # Two of them must not have the same name: devices would mix them up.
    number = x509.random_serial_number()
    host = network.host_names()[:1] or ["home"]
    subject = _name(f"JupyterHub at home ({host[0][:30]}, {number & 0xFFFF:04x})")
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(number)
        .not_valid_before(min(AUTHORITY_BEGINS, now))
        .not_valid_after(max(AUTHORITY_BEGINS, now) + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(certificates_names.permitted_subtrees(names), None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _portal_certificate(
    public_key: ec.EllipticCurvePublicKey, authority: Pair, names: Names, now: Instant
) -> x509.Certificate:
    authority_key, authority_certificate = authority
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    begins = now - BACKDATED
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(names.texts()[0][:64]))
        .issuer_name(authority_certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names.general_names()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    return builder.sign(authority_key, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "jupyterhub4family"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


# -- reading and writing them ------------------------------------------------------------------------


def validity(certificate: x509.Certificate) -> tuple[Instant, Instant]:
    """When a certificate begins and ends, in UTC."""
    utc = datetime.timezone.utc
    # Before cryptography 42 (Debian 11 and 12) they were in UTC as well, and did not say so.
    begins = getattr(certificate, "not_valid_before_utc", None) or certificate.not_valid_before.replace(tzinfo=utc)
    ends = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after.replace(tzinfo=utc)
    return begins, ends


def names_in(certificate: x509.Certificate) -> list[str]:
    """Names and addresses that a certificate is good for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(one.value) for one in found if isinstance(one, (x509.DNSName, x509.IPAddress))]


def _permitted(certificate: x509.Certificate) -> Names:
    """What an authority may sign; nothing if it is no constrained one, and so none of ours."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return Names([], [])
    subtrees = found.value.permitted_subtrees or []
    networks = [one.value for one in subtrees if isinstance(one, x509.IPAddress)]
    return Names([one.value for one in subtrees if isinstance(one, x509.DNSName)], networks)


def _match(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
    return _public_bytes(key.public_key()) == _public_bytes(certificate.public_key())


def _public_bytes(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_bytes(serialization.Encoding.DER, form))


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    public_key = authority.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or certificate.issuer != authority.subject:
        return False
    try:
        public_key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _describe(certificate: x509.Certificate) -> dict[str, Union[str, list[str]]]:
    begins, ends = validity(certificate)
    return {
        "names": names_in(certificate),
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "begins": begins.isoformat(),
        "ends": ends.isoformat(),
        "fingerprint": certificates.fingerprint(_to_der(certificate)),
    }


def _read_key(path: Path) -> Optional[ec.EllipticCurvePrivateKey]:
    """The key in a file; None if it is missing or damaged."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except Exception:  # as below
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _read_certificate(path: Path) -> Optional[x509.Certificate]:
    """The first certificate in a file; None if it is missing or damaged."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        # Damage inside is met only when it is looked at.
        validity(certificate)
        list(certificate.extensions)
        certificate.public_key()
    except Exception:  # a damaged file may cause anything, and means the same as none
        return None
    return certificate


def _write(path: Path, text: str) -> None:
    files.write_atomically(path, text, 0o600)


def _key_to_pem(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode("ascii")


def _to_pem(certificate: x509.Certificate) -> str:
    return str(certificate.public_bytes(serialization.Encoding.PEM).decode("ascii"))


def _to_der(certificate: x509.Certificate) -> bytes:
    return bytes(certificate.public_bytes(serialization.Encoding.DER))


if __name__ == "__main__":
    sys.exit(main())
