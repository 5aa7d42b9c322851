"""The built wheel, alone in an environment of its own, runs the demonstration from end to end: whatever runs (SQL,
seccomp filters, profiles, skills) is in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from plain import finder

ROOT = Path(__file__).parents[2]
BUILD_SECONDS = 60.0
DEMO_SECONDS = 90.0


def installed(place: Path) -> Path:
    """The Python of an environment that holds the wheel, and beside it only what the package needs from others."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=BUILD_SECONDS)
    (wheel,) = (place / "dist").glob("*.whl")
    venv.create(place / "venv", with_pip=False, symlinks=True)
    (packages,) = (place / "venv" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    (packages / "plain_finder.py").write_text(finder())
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\nimport plain_finder\n")
    return place / "venv" / "bin" / "python"


@pytest.mark.timeout(BUILD_SECONDS + 2 * DEMO_SECONDS)
def test_the_wheel_alone_runs_the_demonstration(tmp_path: Path) -> None:
    python = installed(tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), *words]
        return subprocess.run(
            command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=DEMO_SECONDS, check=False
        )

    where = run("-c", "import outrider; print(outrider.__file__)").stdout
    assert where.startswith(str(tmp_path)), where
    assert "No module named 'yaml'" in run("-c", "import yaml").stderr, "nothing is there that only tests need"
    skills = run("-c", "from outrider.resources.skills.prebuilt import prebuilt; print(*prebuilt())")
    assert skills.stdout == "docx pdf pptx xlsx\n", skills.stderr
    done = run("-m", "outrider", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    steps = re.findall(r"^(write|bash|read|edit) ", done.stdout, re.MULTILINE)
    assert steps == ["bash", "write", "write", "bash", "read", "edit", "bash", "write"]
    assert "exit=1" in done.stdout or "FAIL" in done.stdout
    assert re.search(r"^Output: REPORT.md \(\d+ bytes\)$", done.stdout, re.MULTILINE)
    assert "OUTRIDER_MODEL_URL" in done.stdout
    assert "outrider env" in done.stdout
    assert "examples/" not in done.stdout, "there are none beside a wheel"
