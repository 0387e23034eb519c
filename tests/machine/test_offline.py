"""A machine without internet: installed from a bundle that another machine has made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
