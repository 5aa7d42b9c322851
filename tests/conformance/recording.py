"""Runs the conformance tests and notes what each of them touches of the SDK's surface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conformance.sdk_walk import events
from conformance.witnessed import RECORD, TESTS, Traffic, chosen, witnesses

PLACE = "OUTRIDER_TEST_TRAFFIC"
"""The directory that test processes write to, a file each."""
SECONDS = 3600.0


def record(arguments: list[str]) -> int:
    """Write the witnesses anew; with arguments for pytest, only what those tests show."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pytest", "-q", *(arguments or [str(TESTS / "conformance")])]
        status = subprocess.run(command, env=os.environ | {PLACE: place}, timeout=SECONDS, check=False).returncode
        traffic: Traffic = {}
        for path in sorted(Path(place).glob("*.json")):
            traffic |= json.loads(path.read_text())
    words = {f"{model}.type": kind for kind, model in events().items()}
    before = witnesses() if arguments and RECORD.exists() else None
    RECORD.write_text(json.dumps(chosen(traffic, before, words), indent=1) + "\n")
    return status


def is_asked() -> bool:
    return PLACE in os.environ


def keep(traffic: Traffic) -> None:
    """At the end of a test process, where somebody asked for it."""
    if (place := os.environ.get(PLACE)) and traffic:
        (Path(place) / f"{os.getpid()}.json").write_text(json.dumps(traffic))
