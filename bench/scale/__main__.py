"""`python -m bench.scale [part ...]`: measure, write bench/results/scale.json, put its tables into docs/scaling.md.

Parts: stored-sqlite, stored-postgres, running-sqlite, running-postgres. All take half an hour, most of it filling
stores, and 10 GB of disk; `--stored 10,1000` asks for fewer sessions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.about import about
from bench.database import database
from bench.scale import running, stored
from bench.scale.page import write_page

RESULTS = Path(__file__).parent.parent / "results" / "scale.json"
STORED = "10,1000,100000,1000000"
AT_ONCE = [1, 10, 100, 1000]
PROCESSES = (1, 2, 4)


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m bench.scale")
    asked.add_argument("parts", nargs="*", choices=[*PARTS, []])
    asked.add_argument("--stored", default=STORED)
    given = asked.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in given.parts or PARTS:
        load = round(os.getloadavg()[0], 1)
        figures = PARTS[part]([int(count) for count in given.stored.split(",")])
        found[part] = {"about": about(), "load before": load, "figures": figures}
        print(json.dumps({part: found[part]}, indent=1))
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    write_page(found)


def _stored_sqlite(counts: list[int]) -> dict[str, Any]:
    with _place() as place:
        return asyncio.run(stored.measure(place, counts))


def _stored_postgres(counts: list[int]) -> dict[str, Any]:
    with _place() as place, database() as url:
        return asyncio.run(stored.measure(place, counts, url))


def _running_sqlite(_counts: list[int]) -> dict[str, Any]:
    with _place() as place:
        return {"1": asyncio.run(running.measure(place, 1, AT_ONCE))}


def _running_postgres(_counts: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for processes in PROCESSES:
        with _place() as place, database() as url:
            found[str(processes)] = asyncio.run(running.measure(place, processes, AT_ONCE, url))
    return found


PARTS: dict[str, Callable[[list[int]], dict[str, Any]]] = {
    "running-sqlite": _running_sqlite,
    "running-postgres": _running_postgres,
    "stored-sqlite": _stored_sqlite,
    "stored-postgres": _stored_postgres,
}


@contextmanager
def _place() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="outrider-scale-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


main()
