"""Any identity: the variables that package clients (uv, pip, npm) get, taken from the machine's own settings only."""

from __future__ import annotations

import re
from pathlib import Path

#: The machine's own settings for every login (pam_env(8)).
MACHINE_ENVIRONMENT = Path("/etc/environment")
#: Debian's trust store: also holds the certificate of a filtering proxy, if the machine has one.
TRUST_STORE = Path("/etc/ssl/certs/ca-certificates.crt")

_PASSED_ON = re.compile(r"(?:https?_proxy|no_proxy|all_proxy|(?:PIP|UV|NPM_CONFIG)_[A-Z_]+)", re.IGNORECASE)


def machine_settings() -> dict[str, str]:
    """Proxy and package-client variables that /etc/environment sets for the whole machine."""
    result: dict[str, str] = {}
    try:
        lines = MACHINE_ENVIRONMENT.read_text("utf-8", "replace").splitlines()
    except OSError:
        return result
    for line in lines:
        found = re.fullmatch(r"\s*(?:export\s+)?(\w+)=(.*)", line)
        if found and _PASSED_ON.fullmatch(found[1]):
            result[found[1]] = found[2].strip().strip("\"'")
    return result


def uv_environment() -> dict[str, str]:
    """Variables for uv, pip and npm: the system's trust store, no colours, the machine's proxy."""
    return {
        "UV_SYSTEM_CERTS": "1",
        # uv before 0.9 knew the same wish by this name.
        "UV_NATIVE_TLS": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_CERT": str(TRUST_STORE),
        "NO_COLOR": "1",
        **machine_settings(),
    }
