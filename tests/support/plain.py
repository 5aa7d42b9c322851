"""An interpreter as after a plain install: of the packages that lie beside ours for the tests, it finds only those of
requirements/run.txt."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "run.txt"
PARTS = {"opentelemetry": ["opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto"]}
"""Of namespaces that packages share, what is an extra's."""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def hidden() -> frozenset[str]:
    """The modules that a plain install does not have."""
    pins = re.findall(r"^([\w.-]+)==", REQUIREMENTS.read_text(), re.MULTILINE)
    kept = {_plain(name) for name in [*pins, "outrider"]}
    beside = {top for top, owners in packages_distributions().items() if kept.isdisjoint(map(_plain, owners))}
    return frozenset(beside).union(*PARTS.values())


def finder() -> str:
    """A program's first lines, after which it finds no others."""
    return f"""
import sys
from importlib.machinery import PathFinder
HIDDEN = {sorted(hidden())!r}
class Plain(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name in HIDDEN or name.partition(".")[0] in HIDDEN
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[:] = [Plain if one is PathFinder else one for one in sys.meta_path]
"""
