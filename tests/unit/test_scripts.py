"""The scripts that set a checkout up and check it: what they say when something is missing or wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
TOOLS = ("bash", "cat", "cut", "dirname", "flock", "mkdir", "sha256sum")


def machine(tmp_path: Path, **programs: str) -> Path:
    """A directory for PATH with the tools of a bare system, and the given shell scripts as programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def demo(path: Path, venv: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "OUTRIDER_VENV": str(venv)}
    command = ["bash", str(SCRIPTS / "demo")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    run = demo(machine(tmp_path), tmp_path / "venv")
    assert run.returncode == 1
    assert "Python 3.11 or newer is needed" in run.stderr


def test_a_python_that_is_too_old_is_not_taken(tmp_path: Path) -> None:
    run = demo(machine(tmp_path, python3="exit 1"), tmp_path / "venv")
    assert run.returncode == 1
    assert "Python 3.11 or newer is needed" in run.stderr


def test_a_python_without_venv_is_told_what_to_install(tmp_path: Path) -> None:
    only_version = 'case "$2" in *version_info*) exit 0;; *) exit 1;; esac'
    run = demo(machine(tmp_path, python3=only_version), tmp_path / "venv")
    assert run.returncode == 1
    assert "python3-venv" in run.stderr


def test_an_environment_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = demo(machine(tmp_path), tmp_path / "file" / "venv")
    assert run.returncode == 1
    assert "Set OUTRIDER_VENV" in run.stderr


def checkout(tmp_path: Path, script: str, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one of the checks on a small repository of its own."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / script, tmp_path / "scripts")
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=50)
    command = [sys.executable, str(tmp_path / "scripts" / script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_a_module_over_its_size_fails_the_check(tmp_path: Path) -> None:
    run = checkout(tmp_path, "sizes", {"src/long.py": "x = 1\n" * 501, "tests/fine.py": "x = 1\n" * 501})
    assert run.returncode == 1
    assert run.stdout == "src/long.py: 501 lines, at most 500\n"


@pytest.mark.parametrize(
    "words", [("registry", "npmjs", "org"), ("deb", "debian", "org"), ("files", "pythonhosted", "org")]
)
def test_a_registrys_host_in_a_tracked_file_fails_the_check(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = checkout(tmp_path, "names", {"notes.txt": f"one\nfrom {'.'.join(words)} it came\n"})
    assert run.returncode == 1
    assert run.stdout.startswith("notes.txt:2: names ")


def test_a_clean_tree_passes_the_checks(tmp_path: Path) -> None:
    run = checkout(tmp_path, "names", {"notes.txt": "nothing to see\n", "src/short.py": "x = 1\n"})
    assert run.returncode == 0
    assert run.stdout == ""
