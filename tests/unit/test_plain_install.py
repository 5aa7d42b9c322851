"""What a plain install runs, with none of the extras: every command but those that name a service."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest
from plain import finder, hidden

from outrider.errors import InvalidRequest
from outrider.testing.drill import shape

IMPORTS = """
import importlib
from outrider.cli import COMMANDS
for name in [place.partition(":")[0] for place in COMMANDS.values()] + sys.argv[1:]:
    importlib.import_module(name)
"""
ROOTS = ("outrider.server", "outrider.vaultd", "outrider.supervisor.backup", "outrider.testing.drill.run")


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", finder() + program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_no_command_needs_an_extra_to_be_there() -> None:
    done = run(IMPORTS, *ROOTS)
    assert done.returncode == 0, done.stderr


def test_what_only_tests_need_is_not_found() -> None:
    assert {"pytest", "yaml", "asyncpg", "nats", "obstore", "opentelemetry.sdk"} <= hidden()
    assert not {"anthropic", "outrider", "starlette", "click", "opentelemetry"} & hidden()
    done = run("from importlib.util import find_spec; print(find_spec('asyncpg'), find_spec('opentelemetry.sdk'))")
    assert (done.stdout, done.stderr) == ("None None\n", "")
    assert "No module named 'yaml'" in run("import yaml").stderr


def test_a_drill_names_the_extra_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> ModuleSpec | None:
        return None if name == "asyncpg" else find_spec(name)

    monkeypatch.setattr(shape, "find_spec", found)
    with pytest.raises(InvalidRequest, match="pip install 'outrider\\[postgres\\]'"):
        shape.Shape(store="postgres")
    shape.Shape()
