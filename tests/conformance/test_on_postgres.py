"""The end-to-end checks once more, against a server that keeps its sessions in PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from outrider.testing.postgres_server import NoServer, binaries

CHECKS = Path(__file__).with_name("test_checks.py")
DEADLINE = 180.0


@pytest.mark.timeout(DEADLINE + 20)
def test_the_checks_pass_on_postgresql_too() -> None:
    """In a run of its own: `--store` holds for a whole run. (Any other test can be run like this, too.)"""
    try:
        binaries()
    except NoServer as missing:
        pytest.skip(str(missing))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--store", "postgres", str(CHECKS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert run.returncode == 0, run.stdout[-6000:]
