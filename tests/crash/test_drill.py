"""`outrider drill` as an operator runs it: a short one on the embedded store."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(150)
def test_a_short_drill_finds_nothing_and_says_what_it_did(tmp_path: Path) -> None:
    result = tmp_path / "drill.json"
    options = ["--sessions", "4", "--minutes", "0.15", "--every", "1.5", "--readers", "2", "--json", str(result)]
    done = subprocess.run(
        [sys.executable, "-m", "outrider", "drill", *options], capture_output=True, text=True, timeout=140
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(result.read_text())
    assert report["sessions"] == 4
    assert report["rounds"] >= 4
    assert sum(report["faults"].values()) >= 3
    assert report["violations"] == []
    assert "violations    0" in done.stdout


def test_a_shape_that_makes_no_sense_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "outrider", "drill", "--apart", "api=1"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("outrider: store: sqlite")
