"""Runs inside JupyterHub's process, as `jupyterhub`: which device asks, and the family's authority in its format."""

from __future__ import annotations

import hashlib
import plistlib
import uuid

from jupyterhub4family.common.i18n.messages import _, translated

#: Sections of the trust page, in its order.
DEVICES = ("ios", "android", "windows", "macos", "firefox", "linux")
#: Words of a User-Agent header, the telling ones first: every browser claims to be some others, too.
_MARKS = (
    ("iphone", "ios"),
    ("ipad", "ios"),
    ("ipod", "ios"),
    ("android", "android"),
    ("windows", "windows"),
    ("macintosh", "macos"),
    ("cros", "linux"),
    ("linux", "linux"),
)
_NAMESPACE = uuid.UUID("5b1c8d9e-6f0e-4f0b-9a86-2f4c7d1be6a4")


def device(untrusted_user_agent: str) -> str:
    """Which section of the trust page concerns this browser. An iPad that calls itself a Mac is found by the page."""
    user_agent = untrusted_user_agent[:500].lower()
    # Elsewhere Firefox trusts what the system trusts.
    if "firefox/" in user_agent and "linux" in user_agent and "android" not in user_agent:
        return "firefox"
    return next((name for word, name in _MARKS if word in user_agent), "windows")


def apple_profile(der: bytes, family_name: str, language: str) -> bytes:
    """A configuration profile (.mobileconfig) by which iPhones, iPads and Macs take up the authority `der`."""
    name = family_name or "JupyterHub"
    title = translated(_("Certificate of {name}", name=name), language)
    # The same certificate has the same identity, so that installing it again replaces it.
    identity = hashlib.sha256(der).hexdigest()
    certificate = {
        "PayloadType": "com.apple.security.root",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"jupyterhub4family.{identity[:16]}.certificate",
        "PayloadUUID": str(uuid.uuid5(_NAMESPACE, identity + " certificate")).upper(),
        "PayloadDisplayName": title,
        "PayloadContent": der,
    }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"jupyterhub4family.{identity[:16]}",
        "PayloadUUID": str(uuid.uuid5(_NAMESPACE, identity)).upper(),
        "PayloadDisplayName": title,
        "PayloadDescription": translated(
            _("Lets this device trust your family's own JupyterHub, and nothing else."), language
        ),
        "PayloadContent": [certificate],
    }
    return plistlib.dumps(profile)
