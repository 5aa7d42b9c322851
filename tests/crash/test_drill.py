"""`outrider drill` as an operator runs it: a short one on the embedded store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AS_USER = ["unshare", "--user", "--map-current-user", "--keep-caps"]


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


@pytest.mark.timeout(240)
def test_a_drill_over_hosts_whose_links_are_cut_finds_nothing(tmp_path: Path) -> None:
    """Two harnesses on hosts of their own, cut off from database, NATS, vault and sandbox host, and joined again."""
    own_network = ["unshare", "--net"] if os.geteuid() == 0 else [*AS_USER, "--net"]
    result = tmp_path / "drill.json"
    shape = ["--store", "postgres", "--nats", "--hosts", "--apart", "api=1,harness=2,sandbox=1,vault=1"]
    load = ["--sessions", "4", "--minutes", "0.35", "--every", "2", "--faults", "cut", "--readers", "2"]
    done = subprocess.run(
        [*own_network, sys.executable, "-m", "outrider", "drill", *shape, *load, "--json", str(result)],
        capture_output=True,
        text=True,
        timeout=230,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(result.read_text())
    cut = {one["name"].partition("-")[2] for one in report["struck"]}
    assert cut == {"database", "nats", "vault1", "sandbox1"}, "of each service, and the drill ends when all are joined"
    assert report["rounds"] >= 4
    assert report["violations"] == []


def test_a_shape_that_makes_no_sense_is_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "outrider", "drill", "--apart", "api=1"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert done.stderr.startswith("outrider: store: sqlite")
