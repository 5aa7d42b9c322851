"""Programs of clients, run as processes of their own with the variables that `outrider env` would set."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from live_server import Server

SECONDS = 50.0


def lines_of(
    command: list[str], server: Server, place: Path, environment: dict[str, str], seconds: float = SECONDS
) -> list[str]:
    """The lines that the program prints, once it has ended well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    sdk = {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": server.key}
    done = subprocess.run(
        command, cwd=place, env=clean | sdk | environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()
