"""Keys and workspaces for tests, made as an operator makes them: with the command, beside the running server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SECONDS = 60


def command(
    data: Path, *words: str, environment: Mapping[str, str] | None = None, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """`outrider ...` on this data directory, whatever comes of it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    line = [sys.executable, "-m", "outrider", *words, "--data", str(data)]
    told = clean | dict(environment or {})
    return subprocess.run(line, env=told, input=typed, capture_output=True, text=True, timeout=SECONDS, check=False)


def done(data: Path, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """The last line that a command which went well has printed."""
    run = command(data, *words, environment=environment)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


def headers(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "anthropic-beta": "managed-agents-2026-04-01,dreaming-2026-04-21"}
