"""hub.expert_files: a file with an error is left out as a whole and named with its line; the others count."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from jupyterhub4family.common import paths
from jupyterhub4family.common.settings.effective import SkippedFile, skipped_files
from jupyterhub4family.hub.expert_files import execute_expert_files


class Config(dict[str, Any]):
    """As traitlets' Config in what matters here: a section comes into being when it is named."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.setdefault(name, Config()) if name[0].isupper() else self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __deepcopy__(self, memo: Any) -> Config:
        import copy

        return Config({name: copy.deepcopy(value, memo) for name, value in self.items()})


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "SKIPPED_EXPERT_FILES", tmp_path / "skipped.json")
    (tmp_path / "d").mkdir()
    return tmp_path / "d"


def execute(directory: Path, files: dict[str, str]) -> Config:
    for name, text in files.items():
        (directory / name).write_text(text, "utf-8")
    config = Config()
    config.JupyterHub.services = ["ours"]
    execute_expert_files(config, directory)
    return config


def test_files_are_executed_in_the_order_of_their_names(directory: Path) -> None:
    config = execute(directory, {"20.py": "c.Spawner.x += 'b'", "10.py": "c.Spawner.x = 'a'", "30.txt": "syntax error"})
    assert config == {"JupyterHub": {"services": ["ours"]}, "Spawner": {"x": "ab"}}
    assert skipped_files() == []


def test_without_a_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    config = Config()
    execute_expert_files(config, tmp_path / "missing")
    assert config == {}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("c.A.x = 1\nc.B.y = 2\nnonsense\n", 3, "NameError"),
        ("c.A.x = = 1\n\n", 1, "SyntaxError"),
        ("c.A.x = 1\nimport no_such_module_at_all\n", 2, "ModuleNotFoundError"),
        ("c.A.x = 1\nimport json\njson.loads('x')\n", 3, "JSONDecodeError"),
        ("def inner():\n    1 / 0\n\ninner()\n", 2, "ZeroDivisionError"),
        ("c.JupyterHub.services.append('theirs')\nraise SystemExit(3)\n", 2, "SystemExit"),
        ("x = '\0'", 0, "SyntaxError"),
    ],
)
def test_a_bad_file_is_left_out_as_a_whole(
    directory: Path, text: str, line: int, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = execute(directory, {"10-bad.py": text, "20-good.py": "c.Spawner.x = 1"})
    assert config == {"JupyterHub": {"services": ["ours"]}, "Spawner": {"x": 1}}
    (skipped,) = skipped_files()
    # What Python says of a null character differs between its versions.
    assert skipped.name == "10-bad.py"
    assert "\0" in text or (skipped.line, skipped.problem) == (line, problem)
    output = capsys.readouterr().err
    assert output.startswith(f"hub: {directory}/10-bad.py") and "runs without this file" in output
    assert len(output.splitlines()) == 1 and "Traceback" not in output


def test_a_mended_file_is_not_told_any_more(directory: Path) -> None:
    execute(directory, {"10.py": "nonsense"})
    assert skipped_files() == [SkippedFile("10.py", 1, "NameError")]
    assert "10.py:1: NameError. The hub runs without this file" in skipped_files()[0].explain().message
    execute(directory, {"10.py": "c.A.x = 1"})
    assert skipped_files() == []


def test_what_cannot_be_copied_does_not_stop_it(directory: Path) -> None:
    lock = "import threading\nc.A.lock = threading.Lock()\n"
    config = execute(directory, {"10.py": lock, "20.py": "c.A.x = 1\nc.B.y = 1\nnonsense", "30.py": "c.A.z = 3"})
    assert set(config) == {"JupyterHub", "A"} and set(config["A"]) == {"lock", "z"}
    assert isinstance(config["A"]["lock"], type(threading.Lock()))


def test_odd_names_do_not_reach_a_terminal(directory: Path) -> None:
    execute(directory, {"a \x1b[31m ü.py": "nonsense"})
    assert [one.name for one in skipped_files()] == ["a___31m__.py"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(directory: Path) -> None:
    (directory / "10.py").write_text("c.A.x = 1", "utf-8")
    (directory / "10.py").chmod(0)
    execute(directory, {})
    assert skipped_files() == [SkippedFile("10.py", 0, "PermissionError")]
    directory.chmod(0)
    execute_expert_files(Config(), directory)
    directory.chmod(0o755)
    assert skipped_files() == [SkippedFile(".", 0, "PermissionError")]
