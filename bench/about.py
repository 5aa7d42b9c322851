"""On what, when and at which commit figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime


def about() -> dict[str, str]:
    def said(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    kernel = platform.release().split("-")[0]
    dirty = " with changes" if said("git", "status", "--porcelain", "src") else ""
    return {
        "commit": said("git", "rev-parse", "--short", "HEAD") + dirty,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}",
    }
