"""Layers: what is expensive to install, installed once and shared read-only by all machines.

    root       plain Debian                                       (roots.py)
    deps       + the package's dependencies, and apt's lists      new with Depends
    built      + the package, its release and templates built     new with locks/, debian/control, builds.py
    installed  + the package of this very moment                  new with every change

`built` takes minutes and may hold an older version of the package; `installed` corrects that in
seconds. `unit` is `deps` with Debian's pytest, kept apart so that no other machine has it by luck, and with the hub's
packages in a venv, as a release has them.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.machine.lib import health, roots, store
from tests.machine.lib.deb import build_deb, field
from tests.machine.lib.machine import Machine
from tests.machine.lib.places import REPOSITORY, RUN, digest, host, remove_tree

PACKAGE = "jupyterhub4family"
HOME = f"/var/lib/{PACKAGE}"
#: Is there as long as an upgrade is tried.
IN_PROGRESS = f"{HOME}/upgrade/under-way.json"
LAYERS = ("base", "deps", "unit", "installed")
# A first build takes 40 to 60 seconds here; a replaced package is up again in two, and tried out in ten.
BUILD_SECONDS, UPDATE_SECONDS = 400, 240

# What makes releases and templates: a change there must not meet the work of its predecessor.
_BUILDERS = ("service/releases/builds.py", "service/releases/contents.py")
_COMPRESSOR = "proxy/compress_files.js"

# Change it when something here changes what a layer holds.
_RECIPE = "1"
_FOR_UNIT_TESTS = "gettext python3-babel python3-pytest python3-websockets python3-yaml"
#: On machines of the layer `unit`: Debian's Python with what locks/hub.txt names for it.
HUB_PYTHON = "/opt/hub/bin/python"
_HUB_LOCK = REPOSITORY / "locks" / "hub.txt"
_HUB_PACKAGES = "install --quiet --no-cache-dir --no-deps --require-hashes --only-binary :all: -r /opt/hub.txt"
_APT = "apt-get -qq -y -o Dpkg::Use-Pty=0"

# A layer that could not be made fails at once for the other tests that want it, for so long.
_REMEMBER_SECONDS = 600


@functools.cache
def current_deb() -> Path:
    """Return the package under test: the one `./test` has built, so that all workers agree, else the tree's."""
    given = os.environ.get("J4F_DEB")
    if not given:
        return build_deb()
    store.hold(Path(given).parent)
    return Path(given)


def stack(layer: str, suite: str, init: str, deb: Path | None = None) -> tuple[Path, ...]:
    """Return the layers above the root for a machine, lowest first; made if need be."""
    if layer == "base":
        return ()
    if layer == "deps":
        return (deps_layer(suite, init, deb),)
    if layer == "unit":
        return (deps_layer(suite, init, deb), unit_layer(suite, init, deb))
    if layer == "installed":
        return installed_layers(suite, init, deb)
    raise ValueError(f"no layer {layer!r}; there are {', '.join(LAYERS)}")


def deps_layer(suite: str, init: str = "systemd", deb: Path | None = None) -> Path:
    """Return the layer with everything the package depends on, but without the package."""
    depends = field(deb or current_deb(), "Depends")

    def install(machine: Machine) -> None:
        machine.run(f"{_APT} update")
        machine.run(f"{_APT} satisfy --no-install-recommends '{depends}'")

    key = digest(_RECIPE, roots.root_key(suite, init), depends)
    return _layer("deps", suite, init, key, below=(), work=install)


def unit_layer(suite: str, init: str = "systemd", deb: Path | None = None) -> Path:
    """Return a layer for unit tests, to go on top of `deps_layer`."""
    below = deps_layer(suite, init, deb)

    def install(machine: Machine) -> None:
        machine.run(f"{_APT} install --no-install-recommends {_FOR_UNIT_TESTS}")
        machine.put(_HUB_LOCK, "/opt/hub.txt")
        machine.run("python3 -m venv --system-site-packages /opt/hub")
        machine.run(f"{HUB_PYTHON} -m pip {_HUB_PACKAGES}", timeout=300)

    key = digest(_RECIPE, below.parent.name, _FOR_UNIT_TESTS, _HUB_LOCK.read_bytes(), _HUB_PACKAGES)
    return _layer("unit", suite, init, key, below=(below,), work=install)


def tools_layer(suite: str, tools: str) -> Path:
    """Return a layer with these packages, to go on top of `deps_layer`."""
    below = deps_layer(suite)

    def install(machine: Machine) -> None:
        machine.run(f"{_APT} install --no-install-recommends {tools}")

    return _layer("tools", suite, "systemd", digest(_RECIPE, below.parent.name, tools), below=(below,), work=install)


def installed_layers(suite: str, init: str = "systemd", deb: Path | None = None) -> tuple[Path, ...]:
    """Return the layers of a machine on which the package is installed and its portal answers."""
    deb = deb or current_deb()
    below = deps_layer(suite, init, deb)
    lasting = digest(_RECIPE, below.parent.name, _slow_part(deb))

    def build(machine: Machine) -> None:
        _install(machine, deb, f"{_APT} install", BUILD_SECONDS)
        (machine.directory / "deb").write_text(deb.parent.name)

    built = _layer("built", suite, init, lasting, below=(below,), work=build, notes=("deb",))
    if (built.parent / "deb").read_text() == deb.parent.name:
        return (below, built)

    def bring_up_to_date(machine: Machine) -> None:
        # A hub that is still starting would be one half of this version and the other half of that.
        wait_until_ready(machine)
        _install(machine, deb, "dpkg --install", UPDATE_SECONDS)
        # An upgrade that was taken back would have all tests try the former version.
        machine.run(f"! cat {HOME}/upgrade/failed.json || exit 1")
        assert machine.run("dpkg-query -W -f '${Version}' " + PACKAGE) == field(deb, "Version")

    key = digest(_RECIPE, built.parent.name, deb.parent.name)
    installed = _layer("installed", suite, init, key, below=(below, built), work=bring_up_to_date)
    return (below, built, installed)


def install(machine: Machine, deb: Path) -> None:
    """Install a package on a machine that has what it depends on, and wait until its portal answers."""
    _install(machine, deb, f"{_APT} install", BUILD_SECONDS)


def _install(machine: Machine, deb: Path, installer: str, timeout: float) -> None:
    machine.put(deb, f"/tmp/{deb.name}")
    machine.run(f"{installer} /tmp/{deb.name} </dev/null")
    wait_until_ready(machine, timeout)
    wait_until_compressed(machine, timeout)


def wait_until_ready(machine: Machine, timeout: float = 60) -> None:
    """Wait until the service has built what it needs and its login page answers, and no upgrade is under way.

    At the machine's own address as well: a machine that starts from a layer has got another one since, and until the
    proxy has looked, a second later, the portal's certificate does not name it.
    """
    machine.wait(f"! test -e {IN_PROGRESS}", timeout=timeout)
    for what in ("releases", "templates"):
        machine.wait(f"ls {HOME}/{what}/*/.complete", timeout=timeout, every=0.5)
    for address in ("127.0.0.1", machine.ip):
        machine.wait(
            f"curl --cacert {HOME}/ca.crt --silent --fail --output /dev/null https://{address}:8000/hub/login",
            timeout=timeout,
        )


def wait_until_compressed(machine: Machine, timeout: float = 60) -> None:
    """Wait until the proxy has its static files compressed, which it does once for each release and each template.

    It takes a processor for ten seconds: in a layer that has not waited, each machine made from it pays them again.
    """
    if machine.execute(f"test -e /usr/share/{PACKAGE}/{_COMPRESSOR}").returncode:
        return  # an older package does nothing of the kind
    for what in ("releases", "templates"):
        machine.wait(f"test -e {HOME}/{what}/current/compressed/index.json", timeout=timeout, every=0.5)


def _slow_part(deb: Path) -> str:
    """Return a name for what the slow part of an installation fetches, and how it builds that.

    Read from the package, not from the working tree: that may have changed since.
    """
    with tempfile.TemporaryDirectory(dir=RUN) as scratch:
        host("dpkg-deb", "--extract", deb, scratch)
        share, library = Path(scratch, "usr/share", PACKAGE), Path(scratch, "usr/lib", PACKAGE, PACKAGE)
        files = [*sorted((share / "locks").rglob("*")), *(library / name for name in _BUILDERS), share / _COMPRESSOR]
        return digest(field(deb, "Depends"), *(path.read_bytes() for path in files if path.is_file()))


def _layer(
    kind: str,
    suite: str,
    init: str,
    key: str,
    *,
    below: Sequence[Path],
    work: Callable[[Machine], None],
    notes: Sequence[str] = (),
) -> Path:
    """Return the layer of this key; `work` makes it on a machine that stands on `below`."""
    name = f"{suite}-{init}"
    label = f"{kind}-{name}-{key}"
    # The same layer made with another package deserves another try.
    broken = RUN / "broken" / f"{label}-{current_deb().parent.name}"

    def build(directory: Path) -> None:
        if broken.exists() and time.time() - broken.stat().st_mtime < _REMEMBER_SECONDS:
            raise RuntimeError(f"layer {label} could not be made a moment ago:\n{broken.read_text()}")
        with Machine(suite, below, init) as machine:
            try:
                work(machine)
                health.check(machine)
            except Exception as error:
                kept = health.keep(machine, f"layer-{label}")
                broken.parent.mkdir(exist_ok=True)
                broken.write_text(f"{error}\n{kept}")
                raise RuntimeError(f"layer {label} could not be made:\n{error}\n{kept}") from error
            machine.run("apt-get clean")
            tree = machine.freeze_layer(directory / "tree")
            # Each machine's journal starts with its own first boot.
            remove_tree(tree / "var/log/journal")
            for note in notes:
                (directory / note).write_text((machine.directory / note).read_text())

    return store.get(kind, name, key, build) / "tree"
