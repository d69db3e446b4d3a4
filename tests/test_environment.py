"""Setting up: finding an interpreter, doing nothing twice, and the pinned versions."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import freeze_constraints
import make_environment

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(os.name != "posix", reason="stands in for programs with sh")


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for .venv; the search path holds nothing but what a test puts in `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("WORKBENCH_VENV", str(tmp_path / "venv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "running", "echo 3.9")))
    return tmp_path / "venv"


def test_the_running_interpreter_serves_when_it_is_in_range() -> None:
    assert make_environment.find_interpreter() == sys.executable


def test_a_suitable_one_is_found_by_name(folder: Path) -> None:
    program(folder.parent / "bin" / "python3", "echo 3.10")
    program(folder.parent / "bin" / "python3.13", "echo No module named ensurepip >&2; exit 1")
    good = program(folder.parent / "bin" / "python3.12", "echo 3.12")
    assert make_environment.find_interpreter() == str(good)


def test_without_one_it_says_what_was_found_and_what_to_install(folder: Path) -> None:
    program(folder.parent / "bin" / "python3", "echo 3.14")
    broken = "echo No module named ensurepip >&2; exit 1"
    program(folder.parent / "bin" / "python3.11", broken)
    with pytest.raises(make_environment.SetupError) as refused:
        make_environment.find_interpreter()
    message = str(refused.value)
    assert "is Python 3.9" in message
    assert "is Python 3.14" in message
    assert "cannot make environments (No module named ensurepip)" in message
    assert "Install one" in message


def test_it_installs_once_and_again_only_when_something_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], log: Path | None) -> None:
        calls.append(command)
        if "venv" in command:
            (folder / "bin").mkdir(parents=True)
            program(folder / "bin" / "python", "echo 3.12")

    program(folder.parent / "bin" / "python3.12", "echo 3.12")
    monkeypatch.setattr(make_environment, "run_logged", run)
    make_environment.make_environment()
    assert [command[2] for command in calls] == ["venv", "pip"]
    assert calls[1][-4:] == ["-c", "constraints.txt", "-e", "."]
    make_environment.make_environment()
    assert len(calls) == 2
    assert "up to date" in capsys.readouterr().out
    make_environment.make_environment(test=True)
    assert calls[-1][-1] == ".[test]"
    make_environment.make_environment()  # what the tests need serves the laboratory too
    assert len(calls) == 3
    monkeypatch.setattr(make_environment, "stamp", lambda _, extras: f"{extras}:changed")
    make_environment.make_environment()
    assert len(calls) == 4
    assert calls[-1][-1] == ".[test]", "tools that are there stay"


def test_an_interrupted_installation_is_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "bin").mkdir(parents=True)
    program(folder / "bin" / "python", "echo 3.12")
    (folder / "workbench-stamp").write_text("base:of long ago", encoding="utf-8")

    def fail(command: list[str], log: Path | None) -> None:
        raise make_environment.SetupError("no network")

    monkeypatch.setattr(make_environment, "run_logged", fail)
    with pytest.raises(make_environment.SetupError, match="no network"):
        make_environment.make_environment()
    assert not (folder / "workbench-stamp").exists()


def test_a_failing_command_shows_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = program(tmp_path / "noisy", "echo quiet please; exit 3")
    log = tmp_path / "log" / "setup.log"
    with pytest.raises(make_environment.SetupError, match="exit status 3"):
        make_environment.run_logged([str(noisy)], log)
    assert "quiet please" in capsys.readouterr().err
    fine = program(tmp_path / "fine", "echo nothing to see")
    make_environment.run_logged([str(fine)], log)
    assert "nothing to see" not in "".join(capsys.readouterr())


def test_freezing_drops_what_belongs_to_one_machine() -> None:
    frozen = (
        "torch==2.13.0+cpu\nnvidia-cublas==13.4\ntriton==3.9.0\n"
        "-e /somewhere/interp-workbench\nother @ file:///somewhere\nanywidget==0.11.0\n"
    )
    lines = freeze_constraints.constraints(frozen).splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "anywidget==0.11.0",
        "torch==2.13.0",
    ]


def test_every_dependency_is_pinned_within_its_range() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if not line.startswith("#"):
            name, separator, version = line.partition("==")
            assert separator, f"not an exact version: {line!r}"
            pins[canonicalize_name(name)] = version
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, needed):
        version = pins.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} but {version} is pinned"
