"""Traces without what sends them: said at the start, not found out later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.modules["opentelemetry.sdk"] = None
from outrider.cli import main
sys.argv = ["outrider", "serve", "--data", sys.argv[1]]
main()
"""


def test_serve_refuses_an_endpoint_for_traces_without_the_extra(tmp_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert run.returncode != 0
    assert "extra `otel`" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "data").exists()
