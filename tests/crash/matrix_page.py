"""Runs the kill matrix and writes docs/reliability.md and bench/results/reliability.json from what it found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kill_matrix import Outcome, cells, run, sample
from matrix_scene import STORES, scene_on

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

Made by `scripts/kill-matrix` from `bench/results/reliability.json`; don't edit.

Each cell is one session on a real server: a model turn with two commands, a message that is queued meanwhile, a long
command that is interrupted, the deletion. At a named point (`outrider.faults`), before or after what is done there, the
process that stands there is killed with SIGKILL, or frozen with SIGSTOP until another server has taken its session over
and then let go on. Afterwards the log is held against the invariants (`outrider.testing.invariants`): numbered without
a gap, every acknowledged event there, one intent and one result for each call, no request left open, queued events
taken up once, epochs that never fall, statuses by the table, and at rest at the end. Each command counts itself in a
file: at most once, and exactly once where its result says that it worked. What clients saw on each connection is held
against the log too.

Recovery is the time from the kill to the session's next event; a frozen owner is only noticed after 3 s.
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Kill processes at every named point and check what is left.")
    parser.add_argument("--store", choices=STORES, action="append", help="only these stores")
    parser.add_argument("--point", help="only cells whose name contains this; the page is left alone")
    parser.add_argument("--sample", type=int, help="so many cells a store in place of all; the page is left alone")
    parser.add_argument("--seed", type=int, default=datetime.now(UTC).toordinal())
    chosen = parser.parse_args(arguments)
    outcomes = list(_tried(chosen.store or STORES, chosen.point, chosen.sample, chosen.seed))
    bad = [outcome for outcome in outcomes if outcome.violations or not outcome.reached]
    sys.stdout.write(f"{len(outcomes)} cells, {len(bad)} with violations or not reached (seed {chosen.seed})\n")
    if chosen.point is None and chosen.sample is None:
        _keep(outcomes)
    return 1 if bad else 0


def _tried(stores: Iterable[str], point: str | None, count: int | None, seed: int) -> Iterable[Outcome]:
    for store in stores:
        chosen = cells(store) if count is None else sample(store, count, seed)
        with scene_on(store) as scene:
            for cell in chosen:
                if point is None or point in str(cell):
                    outcome = run(scene, cell)
                    _say(outcome)
                    yield outcome


def _say(outcome: Outcome) -> None:
    recovery = "" if outcome.recovery is None else f" next event after {outcome.recovery:.2f} s"
    state = "; ".join(outcome.violations) or ("ok" if outcome.reached else "NOT REACHED")
    sys.stdout.write(f"{outcome.cell}: {state}{recovery} ({outcome.seconds:.1f} s)\n")
    sys.stdout.flush()


def _keep(outcomes: Sequence[Outcome]) -> None:
    """Stores that were not tried this time keep their figures."""
    known: dict[str, Any] = json.loads(RESULTS.read_text())["stores"] if RESULTS.exists() else {}
    for store in {outcome.cell.store for outcome in outcomes}:
        tried = [asdict(outcome) for outcome in outcomes if outcome.cell.store == store]
        known[store] = {"at": datetime.now(UTC).date().isoformat(), "commit": _commit(), "cells": tried}
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    RESULTS.write_text(json.dumps({"machine": machine, "stores": known}, indent=1) + "\n")
    PAGE.write_text(render(json.loads(RESULTS.read_text())))


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10, check=False
    )
    return found.stdout.strip() or "unknown"


def render(results: dict[str, Any]) -> str:
    lines = [
        HEAD,
        "| Store | Signal | Cells | Violations | Recovery p50 | p95 | Tried |",
        "|---|---|---|---|---|---|---|",
    ]
    for store in (name for name in STORES if name in results["stores"]):
        found = results["stores"][store]
        for signal in dict.fromkeys(one["cell"]["signal"] for one in found["cells"]):
            tried = [one for one in found["cells"] if one["cell"]["signal"] == signal]
            lines.append(f"| {store} | {signal} | {_figures(tried)} | {found['at']}, `{found['commit']}` |")
    machine = results["machine"]
    lines += ["", f"Python {machine['python']}, {machine['cores']} shared cores."]
    lines += ["", "## By point", "", "| Store | Signal | Point | Cells | Violations | Recovery p50 | p95 |"]
    lines += ["|---|---|---|---|---|---|---|", *_by_point(results["stores"])]
    return "\n".join(lines) + "\n"


def _by_point(stores: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for store in (name for name in STORES if name in stores):
        tried = stores[store]["cells"]
        for signal, point in sorted({(one["cell"]["signal"], one["cell"]["point"]) for one in tried}):
            at = [one for one in tried if (one["cell"]["signal"], one["cell"]["point"]) == (signal, point)]
            lines.append(f"| {store} | {signal} | `{point}` | {_figures(at)} |")
    return lines


def _figures(tried: Sequence[dict[str, Any]]) -> str:
    violations = sum(len(one["violations"]) + (not one["reached"]) for one in tried)
    times = sorted(one["recovery"] for one in tried if one["recovery"] is not None)
    shown = (f"{times[int(len(times) * share)]:.2f} s" if times else "none needed" for share in (0.5, 0.95))
    return f"{len(tried)} | {violations} | {' | '.join(shown)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
