"""What a plain install runs, with none of the extras: every command but those that name a service."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import pytest

from outrider.errors import InvalidRequest
from outrider.testing.drill import shape

BLOCKED = """
import importlib, importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("asyncpg", "nats", "obstore", "opentelemetry.sdk", "opentelemetry.exporter"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
IMPORTS = """
from outrider.cli import COMMANDS
for name in [place.partition(":")[0] for place in COMMANDS.values()] + sys.argv[1:]:
    importlib.import_module(name)
"""
ROOTS = ("outrider.server", "outrider.vaultd", "outrider.supervisor.backup", "outrider.testing.drill.run")


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + program, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_no_command_needs_an_extra_to_be_there() -> None:
    done = run(IMPORTS, *ROOTS)
    assert done.returncode == 0, done.stderr


def test_a_drill_names_the_extra_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> ModuleSpec | None:
        return None if name == "asyncpg" else find_spec(name)

    monkeypatch.setattr(shape, "find_spec", found)
    with pytest.raises(InvalidRequest, match="pip install 'outrider\\[postgres\\]'"):
        shape.Shape(store="postgres")
    shape.Shape()
