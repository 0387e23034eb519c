"""common.offline and common.environments: packages from the machine first, then from the registry; hashes always."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyterhub4family.common.python import offline
from jupyterhub4family.common.python.offline import run_with_sources, wheel_sources
from jupyterhub4family.common.python.venv import compile_bytecode, make_environment
from jupyterhub4family.common.system.programs import CompletedProcess, ProgramError
from tests.unit.fakes import Call, FakePrograms


class Client:
    """Stands in for uv and pip: fails as often as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
        self.calls: list[list[str]] = []
        self.inputs: list[str] = []
        self.failures: dict[str, str] = {}
        self.answers: dict[str, str] = {}
        self.wheels = wheels
        monkeypatch.setattr(offline, "WHEELS", wheels)
        FakePrograms(monkeypatch).answer("*", self._run)

    def _run(self, call: Call) -> CompletedProcess:
        arguments = call.args
        assert call.dies_with_us and call.timeout is not None and call.timeout > 0
        line = [str(word) for word in arguments]
        self.calls.append(line)
        self.inputs.append(call.stdin or "")
        for part, output in self.failures.items():
            if part in line:
                raise ProgramError(output)
        return CompletedProcess(0, "".join(text for part, text in self.answers.items() if part in line), "")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    return Client(monkeypatch, tmp_path / "wheels")


def test_without_offline_packages_there_is_the_registry_only(client: Client) -> None:
    assert wheel_sources() == [[]]


def test_offline_packages_come_first(client: Client) -> None:
    client.wheels.mkdir()
    assert wheel_sources() == [["--no-index", "--find-links", client.wheels], []]


def test_offline_packages_that_serve_need_no_network(client: Client) -> None:
    client.wheels.mkdir()
    run_with_sources(["uv"], ["x"], wheel_sources(), {}, 10)
    assert client.calls == [["uv", "--no-index", "--find-links", str(client.wheels), "x"]]


def test_offline_packages_of_an_older_version_are_no_hindrance(client: Client) -> None:
    client.wheels.mkdir()
    client.failures["--no-index"] = "not found"
    run_with_sources(["uv"], ["x"], wheel_sources(), {}, 10)
    assert client.calls[-1] == ["uv", "x"]


def test_when_nothing_serves_the_last_failure_is_told(client: Client) -> None:
    client.wheels.mkdir()
    client.failures = {"--no-index": "not found", "x": "dns error"}
    with pytest.raises(ProgramError, match="dns error"):
        run_with_sources(["uv"], ["x"], wheel_sources(), {}, 10)
    with pytest.raises(ProgramError, match="no source"):
        run_with_sources(["uv"], ["x"], [], {}, 10)


def test_an_environment_is_made_from_checked_wheels_only(client: Client, tmp_path: Path) -> None:
    make_environment("/uv", tmp_path / "env", Path("/locks/member.txt"), "JupyterLab", tmp_path / "cache")
    venv, sync = client.calls
    assert venv[1] == "venv" and "--relocatable" in venv and venv[-1] == str(tmp_path / "env")
    assert {"--require-hashes", "--no-build"} < set(sync) and sync[-1] == "/locks/member.txt"
    assert sync[sync.index("--python") + 1] == str(tmp_path / "env" / "bin" / "python")


def test_what_is_installed_is_compiled_and_nothing_fetched_for_it(client: Client, tmp_path: Path) -> None:
    client.answers["freeze"] = "pip==26.3\nuv-of-nobody==1\n"
    compile_bytecode("/uv", tmp_path / "env", tmp_path / "cache")
    freeze, sync = client.calls
    assert freeze[:3] == ["/uv", "pip", "freeze"] and sync[:3] == ["/uv", "pip", "sync"]
    for call in (freeze, sync):
        assert {"--no-config", "--offline"} < set(call)
        assert call[call.index("--python") + 1] == str(tmp_path / "env" / "bin" / "python")
    assert {"--no-index", "--compile-bytecode"} < set(sync) and sync[-1] == "-"
    assert client.inputs == ["", client.answers["freeze"]], "what is there stays: nothing is taken away"


def test_a_failure_names_what_was_to_be_fetched(client: Client, tmp_path: Path) -> None:
    client.failures["sync"] = "dns error"
    with pytest.raises(ProgramError, match="JupyterLab could not be fetched: dns error"):
        make_environment("/uv", tmp_path / "env", Path("/locks/member.txt"), "JupyterLab", tmp_path / "cache")
