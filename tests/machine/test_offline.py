"""A machine without internet, installed from a bundle that another machine has made; and one with a mirror."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.machine.lib import layers
from tests.machine.lib.family import add_member, logged_in
from tests.machine.lib.plugin import NewMachine
from tests.machine.test_install import put_clone


@pytest.mark.any_debian
@pytest.mark.slow
def test_a_bundle_installs_without_internet(new_machine: NewMachine, deb: Path, tmp_path: Path, suite: str) -> None:
    maker = new_machine(suite, layer="deps")
    put_clone(maker)
    maker.put(deb, f"/root/{deb.name}")
    output = maker.run(f"/root/clone/tools/make-bundle /root/bundle /root/{deb.name} 2>&1", timeout=600)
    assert "./install --bundle" in output
    shutil.copytree(maker.path("/root/bundle"), tmp_path / "bundle")
    maker.destroy()

    machine = new_machine(suite, layer="base")
    machine.internet(False)
    put_clone(machine)
    shutil.copytree(tmp_path / "bundle", machine.path("/root/bundle"))
    shutil.rmtree(tmp_path / "bundle")

    packages = machine.run("dpkg-query -W")
    machine.run("cp -r /root/bundle /root/broken; echo x >>/root/broken/Packages")
    done = machine.execute("/root/clone/install --bundle /root/broken </dev/null")
    assert done.returncode == 3 and "damaged" in done.stderr, done
    other = "12" if suite == "bullseye" else "11"
    machine.run(f"rm -r /root/broken; cp -r /root/bundle /root/other; echo '{other} amd64' >/root/other/FOR;"
                " cd /root/other && sha256sum -- *.deb Packages FOR >SHA256SUMS")  # fmt: skip
    done = machine.execute("/root/clone/install --bundle /root/other </dev/null")
    assert done.returncode == 3 and f"Debian {other}" in done.stderr, done
    assert machine.run("dpkg-query -W") == packages, "nothing was changed"

    output = machine.run("/root/clone/install --bundle /root/bundle </dev/null 2>&1", timeout=600)
    assert "JupyterHub is running" in output, output
    machine.wait("ls /var/lib/jupyterhub4family/templates/current/.complete", timeout=300)
    add_member(machine, "alice")
    with logged_in(machine, "alice") as alice:
        alice.start_server()
        assert alice.kernel().execute("2+2") == "4"
    machine.run("apt-get purge -y jupyterhub4family jupyterhub4family-offline </dev/null >/dev/null 2>&1")
    assert not machine.exists("/usr/share/jupyterhub4family")


#: Has a lock of one package installed from the index that /etc/environment names; tells what came to pass.
_INSTALL = """
import shutil, sys
from pathlib import Path
sys.path.insert(0, "/usr/lib/jupyterhub4family")
from jupyterhub4family.common.errors import FamilyError
from jupyterhub4family.common.python import addresses, venv
from jupyterhub4family.common import paths
work = Path("/root/work")
shutil.rmtree(work, ignore_errors=True)
work.mkdir()
places = addresses.REFERENCE_LOCK.read_text()
head, block = places.partition("[[packages]]")[0], places[places.index('[[packages]]\\nname = "sudospawner"'):]
(work / "pylock.one.toml").write_text(head + block.partition("\\n\\n")[0] + "\\n")
lock = (paths.LOCKS / "hub.txt").read_text()
(work / "one.txt").write_text(lock[lock.index("sudospawner=="):].partition("    # via")[0].rstrip("\\\\\\n ") + "\\n")
try:
    uv = paths.CURRENT_RELEASE / "uv/bin/uv"
    venv.make_environment(uv, work / "env", work / "one.txt", "it", work / "cache", report=print)
except FamilyError as error:
    print("REFUSED", error)
print("installed:", *[found.name for found in work.glob("env/lib/python3*/site-packages/sudospawner/__init__.py")])
"""


@pytest.mark.any_debian
def test_mirrors_with_the_same_and_with_other_places(new_machine: NewMachine, suite: str) -> None:
    """An index of the family's own: the short way, the longer way, and a file that is not what the lock says."""
    machine = new_machine(suite, layer="installed")
    layers.wait_until_ready(machine)
    release = "/var/lib/jupyterhub4family/releases/current"
    places = machine.read("/usr/share/jupyterhub4family/locks/pylock.hub.toml")
    found = re.search(r'url = "([^"]+/(sudospawner-[^"]+\.whl))".*sha256 = "(\w+)"', places)
    assert found
    place, name, digest = found.groups()
    machine.run("mkdir -p /srv/mirror/simple/sudospawner && python3 -m venv /root/pip")
    version = name.split("-")[1]
    machine.run(f"/root/pip/bin/pip -q download --no-deps -d /root sudospawner=={version}", timeout=300)
    machine.run("setsid python3 -m http.server 8099 --bind 127.0.0.1 -d /srv/mirror >/root/asked 2>&1 </dev/null &")
    machine.wait("curl -sf http://127.0.0.1:8099/", timeout=30)
    machine.run("echo UV_INDEX_URL=http://127.0.0.1:8099/simple >>/etc/environment")

    def install(where: str, content: str = f"/root/{name}") -> str:
        machine.run(f"rm -rf /srv/mirror/files; install -D {content} /srv/mirror/files/{where}; : >/root/asked")
        link = f'<a href="/files/{where}#sha256={digest}">{name}</a>'
        machine.write("/srv/mirror/simple/sudospawner/index.html", f"<!DOCTYPE html><body>{link}</body>")
        return machine.run(f"/usr/bin/python3 -I - <<'END' 2>&1\n{_INSTALL}\nEND\n")

    assert machine.exists(f"{release}/uv/bin/uv")
    short = install(f"packages/{place}")
    assert short.split() == ["installed:", "__init__.py"], short
    assert f"GET /files/packages/{place}" in machine.read("/root/asked")
    longer = install(f"elsewhere/{name}")
    assert "longer way" in longer and "other places" in longer and "installed: __init__.py" in longer, longer
    change = "import zipfile; zipfile.ZipFile('/root/tampered', 'a').writestr('sudospawner/evil.py', 'evil')"
    machine.run(f'cp /root/{name} /root/tampered && python3 -c "{change}"')
    refused = install(f"packages/{place}", "/root/tampered")
    assert "longer way" in refused and "REFUSED" in refused and refused.rstrip().endswith("installed:"), refused
    assert "mismatch" in refused.partition("REFUSED")[2].lower(), refused
