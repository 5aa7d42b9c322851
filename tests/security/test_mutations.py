"""Every listed defence has a test that fails without it: the code is changed in a copy, and the test run on that."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import outrider

ROOT = Path(__file__).parents[2]
PACKAGE = Path(outrider.__file__).parent
LISTED: list[dict[str, Any]] = [
    one
    for listing in sorted(Path(__file__).parent.glob("mutations*.toml"))
    for one in tomllib.loads(listing.read_text())["mutation"]
]
FAILED = 1  # pytest's exit code when tests ran and some failed; another one is a broken mutation


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the package that every user may read, with its compiled files."""
    place = Path("/tmp", f"om{os.getpid()}")
    shutil.copytree(PACKAGE, place / "outrider")
    for directory in (place, *(path for path in place.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed["defence"].replace(" ", "-"))
def test_without_it_its_test_fails(listed: dict[str, Any], copy: Path) -> None:
    if listed.get("root") and os.geteuid() != 0:
        pytest.skip("its test needs root")
    changed = copy / "outrider" / listed["file"]
    text = changed.read_text()
    assert text.count(listed["find"]) == 1, "the defence is not where the list says"
    changed.write_text(text.replace(listed["find"], listed["replace"]))
    try:
        run = run_test(listed["test"], copy)
    finally:
        changed.write_text(text)
    assert run.returncode == FAILED, f"{run.stdout[-3000:]}\n{run.stderr[-2000:]}"


def run_test(test: str, copy: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(copy)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False)
