"""Runs as the caller: `status`. Asks the portal as a browser would, so it tells what people see."""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from jupyterhub4family import __version__
from jupyterhub4family.common.addresses import portal_urls
from jupyterhub4family.common.errors import ExitStatus
from jupyterhub4family.common.paths import CURRENT_RELEASE, CURRENT_TEMPLATE
from jupyterhub4family.common.settings import Settings, load_settings
from jupyterhub4family.common.supervision import chosen_supervisor

#: Seconds to wait for each answer.
TIMEOUT = 5


@dataclass(frozen=True)
class Status:
    """What is running, and where it is to be found."""

    version: str
    supervisor: str
    #: `running`, `setting up`, `starting`, `not running`, or `taken` (another program has the port).
    portal: str
    hub_running: bool
    addresses: list[str] = field(default_factory=list)
    release: str = ""
    template: str = ""
    setup: dict[str, Any] = field(default_factory=dict)


def add_to(commands: Any) -> None:
    """Add this command to the command line."""
    parser = commands.add_parser("status", help="say what is running and where the portal is")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=status)


def status(arguments: argparse.Namespace) -> int:
    """Print the status; exit status 0 if people can log in, else 6."""
    now = find_out(load_settings())
    if arguments.json:
        print(json.dumps(asdict(now), indent=1))
    else:
        _print(now)
    return ExitStatus.OK if now.portal == "running" else ExitStatus.NOT_RUNNING


def find_out(settings: Settings) -> Status:
    """Ask hub and portal."""
    hub_code, _ = _get(f"http://127.0.0.1:{settings.hub_port}/hub/health")
    portal_url = f"{'https' if settings.https else 'http'}://127.0.0.1:{settings.port}"
    portal_code, _ = _get(f"{portal_url}/hub/health")
    setup: dict[str, Any] = {}
    if portal_code == 200 and hub_code == 200:
        portal = "running"
    elif portal_code is None:
        portal = "not running"
    else:
        progress = _object(f"{portal_url}/setup-progress.json")
        if portal_code == 503 and progress is not None:
            portal, setup = "setting up", progress
        else:
            portal = "starting" if portal_code in (200, 503) else "taken"
    return Status(
        version=__version__,
        supervisor=chosen_supervisor(settings),
        portal=portal,
        hub_running=hub_code == 200,
        addresses=portal_urls(settings),
        release=_name_of(CURRENT_RELEASE),
        template=_name_of(CURRENT_TEMPLATE),
        setup=setup,
    )


def _name_of(link: Any) -> str:
    try:
        return str(link.resolve(strict=True).name)
    except OSError:
        return ""


def _object(url: str) -> Optional[dict[str, Any]]:
    """The JSON object at an address; None if there is none."""
    code, body = _get(url)
    try:
        found = json.loads(body) if code == 200 else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _get(url: str) -> tuple[Optional[int], str]:
    """Status code and text of an address; None if nobody answers, 0 if what answers is no web server."""
    # Whether the certificate is good is another question (`doctor`), and nothing secret is sent here.
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    secure = urllib.request.HTTPSHandler(context=anybody)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            return answer.status, answer.read(65536).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, ""
    except urllib.error.URLError as error:
        # Something that does not speak TLS; who only hangs up is about to end or to start.
        no_tls = isinstance(error.reason, ssl.SSLError) and not isinstance(error.reason, ssl.SSLEOFError)
        return (0 if no_tls else None), ""
    except (OSError, ValueError):
        return None, ""
    except http.client.HTTPException:
        return 0, ""


_SENTENCES = {
    "running": "JupyterHub is running. Open it in a browser:",
    "setting up": "JupyterHub is being set up; the page shows how far it is:",
    "starting": "JupyterHub is starting. In a moment it answers at:",
    "not running": "JupyterHub is not running.\nTry: sudo jupyterhub4family start",
    "taken": "Something else answers on JupyterHub's port.\nTry: sudo ss -ltnp   shows which program it is",
}


def _print(now: Status) -> None:
    print(_SENTENCES[now.portal])
    if now.portal in ("running", "setting up", "starting"):
        for address in now.addresses:
            print(f"  {address}")
    if now.setup.get("message"):
        word = "Problem" if now.setup.get("failed") else f"{now.setup.get('percent', 0)} %"
        print(f"{word}: {now.setup['message']}")
        if now.setup.get("hint"):
            print(f"Try: {now.setup['hint']}")
    print(f"Version {now.version}, kept running by {now.supervisor}.")
