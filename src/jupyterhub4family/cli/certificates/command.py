"""Runs as the caller: `cert show|renew|export|trust|use`. All but `show` and `export` need root.

What is made, is made by the service itself (service/certificates/ca.py); this only asks for it, and looks at files that
belong to the service account as at anybody's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

from jupyterhub4family.cli.certificates import own as own_certificate
from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError, PermissionRefused, RefusedError, UsageError
from jupyterhub4family.common.i18n import safe_text
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.settings import effective
from jupyterhub4family.common.state import certificates
from jupyterhub4family.common.system import accounts, files, network, programs

#: Where a machine's administrator adds authorities (update-ca-certificates(8)).
TRUSTED = Path("/usr/local/share/ca-certificates/jupyterhub4family.crt")
UPDATE = "/usr/sbin/update-ca-certificates"


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar=_("ACTION"), required=True)
    show = actions.add_parser("show", help=_("names, expiry and fingerprints"))
    show.add_argument("--json", action="store_true", help=_("as JSON"))
    show.set_defaults(run=_show)
    renew = actions.add_parser("renew", help=_("make a new certificate; open notebooks keep working"))
    renew.add_argument(
        "--new-authority", action="store_true", help=_("a new authority as well: every device has to import it again")
    )
    renew.set_defaults(run=_renew)
    export = actions.add_parser("export", help=_("write the authority's certificate, for a device to import"))
    export.add_argument("file", metavar=_("FILE"), nargs="?", default="-", help=_("where to; the terminal if left out"))
    export.add_argument("--der", action="store_true", help=_("in binary form (DER), which some devices need"))
    export.set_defaults(run=_export)
    trust = actions.add_parser("trust", help=_("make this computer's own programs trust the portal"))
    trust.add_argument("--remove", action="store_true", help=_("and no longer"))
    trust.set_defaults(run=_trust)
    use = actions.add_parser("use", help=_("use a certificate that you have from elsewhere"))
    use.add_argument("files", metavar=_("CERT KEY"), nargs="*", help=_("two PEM files; CERT with its whole chain"))
    use.add_argument("--reset", action="store_true", help=_("go back to the certificate of the family's own authority"))
    use.set_defaults(run=_use)


def _show(arguments: argparse.Namespace) -> int:
    report = certificates.read_report()
    if not report:
        raise FamilyError(_("there is no certificate yet"), "jupyterhub4family status", status=ExitStatus.NOT_RUNNING)
    if arguments.json:
        print(json.dumps(report, indent=1))
        return 0
    _print_report(report)
    return 0


def _print_report(untrusted: dict[str, Any]) -> None:
    """What the service says about the certificate. Raises FamilyError if that makes no sense."""
    report = certificates.understood(untrusted)
    try:
        if report is None:
            raise ValueError
        ends = datetime.datetime.fromisoformat(report.certificate.ends)
        left = (ends - datetime.datetime.now(datetime.timezone.utc)).days
    except (ValueError, TypeError, OverflowError):
        raise FamilyError(
            _("what the service says of its certificate makes no sense"), "sudo jupyterhub4family restart"
        ) from None
    print(_("Valid for: {names}", names=_words(report.certificate.names)))
    print(_("Valid until: {day} ({count} days left)", day=ends.date().isoformat(), count=left))
    print(_("Fingerprint (SHA-256): {fingerprint}", fingerprint=safe_text.one_line(report.certificate.fingerprint)))
    if report.source == "own":
        print(_("This is a certificate of your own. Back to the family's: sudo jupyterhub4family cert use --reset"))
        return
    if report.authority is not None:
        fingerprint = safe_text.one_line(report.authority.fingerprint)
        print(_("Fingerprint of the family's authority: {fingerprint}", fingerprint=fingerprint))
    if report.left_out:
        print(_("Not in it, because the authority may not sign it: {names}", names=_words(report.left_out)))
        print(_("Try: {command}", command="sudo jupyterhub4family cert renew --new-authority"))


def _words(untrusted: list[str]) -> str:
    return ", ".join(safe_text.one_line(word) for word in untrusted[:100])


def _renew(arguments: argparse.Namespace) -> int:
    _require_root("renew")
    call_service("renew", *(["--new-authority"] if arguments.new_authority else []))
    print(_("The portal shows the new certificate in a few seconds; open notebooks keep working"))
    if arguments.new_authority:
        print(_("Every device has to import the new authority: its page /trust says how"))
    return 0


def call_service(*args: str) -> None:
    """Have the service's own program look after the certificates, and print what it says."""
    updated = programs.run(
        [*programs.as_account(accounts.SERVICE_ACCOUNT), paths.LIBRARY / "certificates", *args], timeout=120
    )
    print(safe_text.printable(updated.stdout), end="")


def _export(arguments: argparse.Namespace) -> int:
    der = _authority()
    content = der if arguments.der else certificates.to_pem(der).encode("ascii")
    if arguments.file == "-":
        if arguments.der and sys.stdout.isatty():
            # The service has written it: who knows what a terminal would make of it.
            raise UsageError(
                _("binary data is not for a terminal"), _("name a file: {command}", command="cert export --der ca.der")
            )
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0
    try:
        Path(arguments.file).write_bytes(content)
    except OSError as error:
        raise FamilyError(
            _("{file} cannot be written: {error}", file=arguments.file, error=str(error.strerror))
        ) from error
    print(
        _(
            "Written to {file}; fingerprint {fingerprint}",
            file=arguments.file,
            fingerprint=certificates.fingerprint(der),
        )
    )
    return 0


def _authority() -> bytes:
    der = certificates.read_authority()
    if der is None:
        raise FamilyError(_("there is no certificate yet"), "jupyterhub4family status", status=ExitStatus.NOT_RUNNING)
    return der


def _trust(arguments: argparse.Namespace) -> int:
    _require_root("trust")
    if arguments.remove:
        TRUSTED.unlink(missing_ok=True)
        programs.run([UPDATE, "--fresh"], timeout=300)
        print(_("This computer's programs no longer trust the family's authority"))
        return 0
    der = _authority()
    pem = certificates.to_pem(der)
    check_constraints(pem)
    TRUSTED.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(TRUSTED, pem)
    programs.run([UPDATE], timeout=300)
    print(
        _("This computer's programs now trust the authority {fingerprint}", fingerprint=certificates.fingerprint(der))
    )
    print(_("Browsers with a list of their own (Firefox, Chromium) have to import it: see the page /trust"))
    return 0


def check_constraints(pem: str) -> None:
    """Raise RefusedError unless an authority can sign for this computer and its home network only.

    The file is the service account's. Whoever took that over could put another authority there, and this computer
    would believe it everything.
    """
    args = ["openssl", "x509", "-noout", "-ext", "nameConstraints,basicConstraints"]
    lines = [line.strip() for line in programs.run(args, text_input=pem).stdout.splitlines()]
    settings, _problem = effective.settings_in_use()
    known = {*network.HOME_DOMAINS, *network.host_names(), *(one.host for one in settings.extra_names)}
    hosts = {line[4:] for line in lines if line.startswith("DNS:")}
    bounded = "X509v3 Name Constraints: critical" in lines and any(line.startswith("IP:") for line in lines)
    everything = any(line.startswith(("IP:0.0.0.0/0.0.0.0", "IP:0:0:0:0:0:0:0:0/0:")) for line in lines)
    if not bounded or not hosts or everything or not hosts <= known:
        raise RefusedError(
            _("the authority may sign for others than this computer: {names}", names=", ".join(sorted(hosts - known))),
            "sudo jupyterhub4family cert renew --new-authority",
        )


def _use(arguments: argparse.Namespace) -> int:
    if arguments.reset == bool(arguments.files) or len(arguments.files) not in (0, 2):
        raise UsageError(
            _("two files are needed, the certificate and its key, or --reset"),
            "sudo jupyterhub4family cert use " + _("CERT KEY"),
        )
    _require_root("use")
    if arguments.reset:
        own_certificate.forget()
        call_service("ensure")
        print(_("The portal goes back to the certificate of the family's own authority"))
        return 0
    certificate, key = (own_certificate.read(Path(name)) for name in arguments.files)
    own_certificate.check(certificate, key)
    missing = own_certificate.missing_names(certificate)
    own_certificate.install(certificate, key, pwd.getpwnam(accounts.SERVICE_ACCOUNT))
    call_service("ensure")
    print(_("The portal shows your certificate in a few seconds"))
    if missing:
        print(_("Note: it is not valid for {names}; browsers that use these will complain", names=", ".join(missing)))
    return 0


def _require_root(action: str) -> None:
    if os.geteuid() != 0:
        raise PermissionRefused(_("only root may do this"), f"sudo jupyterhub4family cert {action}")
