"""service.releases.trial: the template is tried once for all who have its files, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.python import likeness
from jupyterhub4family.service.releases import trial
from tests.unit.user.template import TEMPLATE_ID, make_template, site_of


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `env` of the template in use."""
    monkeypatch.setattr(paths, "TEMPLATES", tmp_path)
    made = make_template(tmp_path / TEMPLATE_ID)
    for path in (*made.rglob("*.py"), *made.rglob("METADATA"), made / "pyvenv.cfg"):
        path.chmod(0o644)
    (tmp_path / "current").symlink_to(TEMPLATE_ID)
    return made


def test_a_template_that_works(env: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = trial.try_template()
    assert found.likeness == likeness.of(env, found.directories) and "bin" in found.directories
    assert trial.main() == 0
    assert json.loads(capsys.readouterr().out)["likeness"] == found.likeness


@pytest.mark.parametrize("broken", ["import", "program", "mode", "incomplete", "none"])
def test_one_that_does_not_is_no_measure(env: Path, broken: str, capsys: pytest.CaptureFixture[str]) -> None:
    if broken == "import":
        (site_of(env) / "notebook/app.py").write_text("1 / 0", "utf-8")
    elif broken == "program":
        (env / "bin/jupyterhub-singleuser").unlink()
    elif broken == "mode":
        (site_of(env) / "notebook/app.py").chmod(0o600)
    elif broken == "incomplete":
        (env.parent / paths.COMPLETE_MARKER).unlink()
    else:
        (paths.TEMPLATES / "current").unlink()
    assert trial.main() != 0
    assert json.loads(capsys.readouterr().out)["ok"] is False
