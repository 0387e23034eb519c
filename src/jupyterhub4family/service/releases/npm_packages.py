"""Runs as jupyterhub: lays the proxy's packages and its node as npm's lock says, without npm and a node to run that.

`npm ci --ignore-scripts` does three things that are needed: it fetches each package, compares it with the lock's
SHA-512, and unpacks it at the place that the lock names. Nothing is resolved, and nothing of a package runs. What this
cannot do (a registry that wants a password, or keeps its packages elsewhere) npm still can: see contents.py and ADR 31.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import io
import json
import platform
import re
import shutil
import socket
import ssl
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Union

from jupyterhub4family.common import paths
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.python import offline, uv, venv
from jupyterhub4family.common.system import programs
from jupyterhub4family.common.system.programs import Arg, ProgramError

#: What npm calls our processors.
PROCESSORS = {"x86_64": "x64", "aarch64": "arm64"}
#: Fetched at the same time; most of them are small.
AT_ONCE = 6
#: Seconds in which a registry must say something.
TIMEOUT = 60
#: How often a package is asked for that a busy registry, or a line that breaks, keeps back; seconds between.
TRIES = 3
PAUSE = 1.0
#: Bytes of one package; node's own has 53 MB.
MAXIMUM_PACKAGE = 200 * 2**20
_PIECE = 2**18
#: Node's headers, for who builds addons: of its 2,800 files all but eight, and nobody's here.
_HEADERS = re.compile(r"node_modules/node-linux-[a-z0-9]+/include/")
_NAME = r"node_modules/(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"
_PLACE = re.compile(f"{_NAME}(?:/{_NAME})*")
#: A proxy that is spoken to in plain HTTP, with or without name and password.
_PROXY = re.compile(r"(?:http://)?(?:[^/@\s]*@)?(?:\[[0-9a-f:.]+\]|[^/@\s:\[\]]+)(?::[0-9]+)?/?", re.IGNORECASE)
#: Asked of a Python of its own: where the registry keeps a package (a package URL), and so which one it is.
_QUESTION = (
    "import sys; sys.path.insert(0, sys.argv[1]); from packageurl.contrib import purl2url;"
    " print(purl2url.get_download_url(sys.argv[2]))"
)


@dataclass(frozen=True)
class Package:
    """One package of the lock: where it is to lie, and what it is."""

    place: str
    version: str
    sha512: str

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.place.rpartition("node_modules/")[2]

    @property
    def path(self) -> str:
        """Where a registry keeps it, below its own address."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


def fetch(lock: Path, target: Path, waiting: Path, library: Path) -> None:
    """Lay what `lock` (a package-lock.json) names for this processor below `target`, without node's headers.

    Packages wait in `waiting`, a directory that is made; `library` has what knows where registries keep packages.
    Raises ProgramError.
    """
    try:
        packages = wanted(lock.read_text("utf-8"), platform.machine())
        waiting.mkdir(exist_ok=True)
        _fetch_all(packages, waiting, library)
        for package in packages:
            _unpack(_archive(waiting, package), package.place, target)
    except (OSError, ValueError, KeyError, EOFError, zlib.error, tarfile.TarError, http.client.HTTPException) as error:
        raise ProgramError(_("{what}: {reason}", what=type(error).__name__, reason=str(error))) from error


def wanted(text: str, machine: str) -> list[Package]:
    """The packages of a lock that this machine is to have. Raises ValueError if there is one that nobody can check."""
    found = []
    for place, entry in json.loads(text)["packages"].items():
        if not place or entry.get("dev") or not _is_for(machine, entry.get("cpu", [])):
            continue
        digest = re.fullmatch(r"sha512-([A-Za-z0-9+/]{86}==)", entry.get("integrity", ""))
        if not _PLACE.fullmatch(place) or digest is None or not re.fullmatch(r"[0-9A-Za-z.+-]+", entry["version"]):
            raise ValueError(f"{place!r} in the lock")
        found.append(Package(place, entry["version"], base64.b64decode(digest[1]).hex()))
    return found


def _is_for(machine: str, processors: Union[str, list[str]]) -> bool:
    """Whether a package that is for these processors (for all, if none is named) is for this machine."""
    named = [processors] if isinstance(processors, str) else processors
    return not named or PROCESSORS.get(machine) in named


def _archive(waiting: Path, package: Package) -> Path:
    return waiting / f"{package.sha512[:32]}.tgz"


def _fetch_all(packages: list[Package], waiting: Path, library: Path) -> None:
    """Have every package in `waiting`, each as the lock says. What was brought along is taken first."""
    missing = []
    for package in packages:
        digest = package.sha512
        brought = offline.NPM_CACHE / "_cacache" / "content-v2" / "sha512" / digest[:2] / digest[2:4] / digest[4:]
        if not brought.is_file():
            missing.append(package)
            continue
        with brought.open("rb") as source:
            _store(source, package, _archive(waiting, package))
    if not missing:
        return
    address = _registry(missing[0], library)
    opener = _opener(address)
    deadline = time.monotonic() + venv.FETCH_TIMEOUT

    def fetch_one(package: Package) -> None:
        for tries_left in range(TRIES - 1, -1, -1):
            try:
                with opener.open(urllib.parse.urljoin(address, package.path), timeout=TIMEOUT) as answer:
                    _store(answer, package, _archive(waiting, package), deadline)
                return
            except (OSError, http.client.HTTPException) as error:
                if not tries_left or not _may_pass(error):
                    raise
            time.sleep(PAUSE)

    with _names_asked_once(), ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            # One alone, by which the names become known.
            fetch_one(missing[0])
            for _done in pool.map(fetch_one, missing[1:]):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def _names_asked_once() -> Iterator[None]:
    """Within this, an address that was found for a name is remembered.

    Resolvers lose answers when many ask at once (measured: two suffice), and each that is lost costs five seconds
    (resolv.conf(5): timeout). urllib asks for each file anew.
    """
    asked = socket.getaddrinfo
    socket.getaddrinfo = functools.lru_cache(maxsize=None)(asked)
    try:
        yield
    finally:
        socket.getaddrinfo = asked


def _may_pass(error: Exception) -> bool:
    """Whether what failed may go well a moment later: npm's way would fetch 61 MB more because of it."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code == 429 or error.code >= 500
    return isinstance(error, (urllib.error.URLError, socket.timeout, ConnectionError, http.client.HTTPException))


def _store(source: io.BufferedIOBase, package: Package, target: Path, deadline: float = float("inf")) -> None:
    """Write what comes to `target`. Raises ValueError if it is not what the lock says."""
    digest = hashlib.sha512()
    size = 0
    # What a registry says is to come; behind that, one that keeps the connection open would be waited for.
    whole = getattr(source, "length", None)
    with target.open("wb") as file:
        # As it comes: for a whole piece of what comes byte by byte one would wait past any deadline.
        while (whole is None or size < whole) and (block := source.read1(_PIECE)):
            size += len(block)
            if size > MAXIMUM_PACKAGE or time.monotonic() > deadline:
                raise ValueError(f"{package.name} is too large, or takes too long")
            digest.update(block)
            file.write(block)
    if whole is not None and size < whole:
        raise ConnectionError(f"the end of {package.name} did not come")
    if digest.hexdigest() != package.sha512:
        raise ValueError(f"hash mismatch: {package.name} {package.version} is not what the lock says")


def _registry(example: Package, library: Path) -> str:
    """The address of the registry that the machine is set to, or else of the one that everybody uses."""
    configured = _npm_setting("registry")
    if "@" in configured:
        # Errors of Python's would tell the password, and this goes to the log and to the page that shows the progress.
        raise ValueError("the registry's address has a name or a password in it")
    if configured:
        return configured.rstrip("/") + "/"
    name = urllib.parse.quote(example.name, safe="/")
    question: list[Arg] = [paths.SYSTEM_PYTHON, "-I", "-c", _QUESTION, library]
    answer = programs.run([*question, f"pkg:npm/{name}@{example.version}"], timeout=60).stdout.strip()
    if not answer.endswith(f"/{example.path}"):
        raise ValueError(f"where is {example.name}? {answer[:200]}")
    return answer[: -len(example.path)]


def _npm_setting(name: str) -> str:
    """What /etc/environment sets for npm, in the way of npm's own variables."""
    settings = {key.lower(): value for key, value in uv.machine_settings().items()}
    return settings.get(f"npm_config_{name}", "")


def _opener(address: str) -> urllib.request.OpenerDirector:
    """What fetches from there: by the machine's proxy if it has one, with the system's trust store or npm's."""
    settings = {key.lower(): value for key, value in uv.machine_settings().items()}
    proxies = {
        scheme: value
        for scheme in ("https", "http")
        if (value := _npm_setting(f"{scheme}_proxy") or settings.get(f"{scheme}_proxy", ""))
    }
    host = urllib.parse.urlsplit(address).netloc
    if urllib.request.proxy_bypass_environment(host, {"no": settings.get("no_proxy", "")}):  # type: ignore[attr-defined]
        proxies = {}
    if not all(_PROXY.fullmatch(proxy) for proxy in proxies.values()):
        # Python would send its password in plain, or name it in an error.
        raise ValueError("the machine's proxy is none that is spoken to in plain HTTP")
    trust = ssl.create_default_context(cafile=_npm_setting("cafile") or str(uv.TRUST_STORE))
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=trust), _Redirects
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other places, as npm does; the proxy's password is for the proxy alone, which gets it anew."""

    def redirect_request(self, req: urllib.request.Request, *answer: Any) -> Union[urllib.request.Request, None]:
        """The next request; Python's own has all headers of the one before."""
        following = super().redirect_request(req, *answer)
        if following is not None:
            following.remove_header("Proxy-authorization")
        return following


def _unpack(archive: Path, place: str, target: Path) -> None:
    """Lay the files of a package at its place; whatever else may be in it (links, devices) is left out, as npm does."""
    with tarfile.open(archive, "r:gz") as packed:
        for member, inside in _files(packed):
            if _HEADERS.match(f"{place}/{inside}"):
                continue
            file = target / place / inside
            file.parent.mkdir(parents=True, exist_ok=True)
            source = packed.extractfile(member)
            assert source is not None
            with source, file.open("wb") as copy:
                shutil.copyfileobj(source, copy, _PIECE)
            file.chmod(0o755 if member.mode & 0o111 else 0o644)
    archive.unlink()


def _files(packed: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """The regular files of a package, and where each belongs: the outermost folder goes. Raises ValueError."""
    for member in packed:
        if not member.isreg():
            continue
        parts = PurePosixPath(member.name).parts
        if member.name.startswith("/") or ".." in parts or len(parts) < 2:
            raise ValueError(f"{member.name[:100]!r} in a package")
        yield member, PurePosixPath(*parts[1:])
