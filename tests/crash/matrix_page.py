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
from itertools import product
from pathlib import Path
from typing import Any

from kill_matrix import KILLED_IN, Outcome, cells, paired, run, sample
from matrix_scene import STORES, scene_on

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

Made by `scripts/kill-matrix` from `bench/results/reliability.json`; don't edit.

Each cell is one session on a real server: a model turn with two commands, a message that is queued meanwhile, a long
command that is interrupted, the deletion. At a named point (`outrider.faults`), before or after what is done there, the
process that stands there is killed with SIGKILL, or frozen with SIGSTOP. On the stores that several servers share, a
frozen owner of a session is let go on when another server has taken its session over and finished it; everyone else is
frozen for a second. Frozen on a shared store: two servers with API and harness, which share a vault and a sandbox host
over mutual TLS. Everything else: one server with all roles. With NATS, half as many moments are taken for the
take-overs: it does not decide who owns what.

Afterwards the log is held against the invariants (`outrider.testing.invariants`): numbered without a gap, every
acknowledged event there, one intent and one result for each call, no request left open, queued events taken up once,
epochs that never fall, statuses by the table, and at rest at the end. What was sent is stored once, however often it
was sent again. Each command counts itself in a file: at most once, and exactly once where its result says that it
worked. What clients saw on each connection is held against the log too, and after the deletion no file is left.

Points that such a session does not come to are killed before and after by tests of their own, which are listed at the
end. Each runs in every run of the test suite, on one of its stores, which changes each second day
(`OUTRIDER_TEST_SEED` chooses); the vault on one side of each step, and of the steps of runs and dreams that are much
alike, one. None of them has NATS. Where an owner can be overtaken, one of several servers on PostgreSQL is held before
what it is about to do, until another one has done it.

Recovery is the time from the kill to the session's next event (after a freeze of a second: from its end). A frozen
owner is only noticed after 3 s; a dead one at once, so that what is measured there is mostly the start of a process on
a busy machine: where it was noted, the load is given beside the figures, and with a load above the number of cores they
are too high. The slowest are kills of the supervisor, after which the whole tree is started anew.
"""
SIGNALS = ("SIGKILL", "SIGSTOP")
SHARES = (0.5, 0.95, 0.99)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Kill processes at every named point and check what is left.")
    parser.add_argument("--store", choices=STORES, action="append", help="only these stores")
    parser.add_argument("--point", help="only cells whose name contains this; the page is left alone")
    parser.add_argument("--sample", type=int, help="so many cells a store in place of all; the page is left alone")
    parser.add_argument("--seed", type=int, default=datetime.now(UTC).toordinal())
    parser.add_argument("--signal", choices=SIGNALS, action="append", help="only these signals")
    chosen = parser.parse_args(arguments)
    outcomes = list(_tried(chosen.store or STORES, chosen.signal or SIGNALS, chosen))
    bad = [outcome for outcome in outcomes if outcome.violations or not outcome.reached]
    sys.stdout.write(f"{len(outcomes)} cells, {len(bad)} with violations or not reached (seed {chosen.seed})\n")
    return 1 if bad else 0


def _tried(stores: Iterable[str], signals: Sequence[str], chosen: Any) -> Iterable[Outcome]:
    for store, signal in product(stores, signals):
        picked = cells(store) if chosen.sample is None else sample(store, signal, chosen.sample, chosen.seed)
        tried = [cell for cell in picked if cell.signal == signal and (chosen.point or "") in str(cell)]
        if not tried:
            continue
        began, outcomes = os.getloadavg()[0], list[Outcome]()
        with scene_on(store, pair=paired(store, signal)) as scene:
            for cell in tried:
                outcomes.append(run(scene, cell))
                _say(outcomes[-1])
        if chosen.point is None and chosen.sample is None:
            _keep(store, signal, outcomes, (began, os.getloadavg()[0]))
        yield from outcomes


def _say(outcome: Outcome) -> None:
    recovery = "" if outcome.recovery is None else f" next event after {outcome.recovery:.2f} s"
    state = "; ".join(outcome.violations) or ("ok" if outcome.reached else "NOT REACHED")
    sys.stdout.write(f"{outcome.cell}: {state}{recovery} ({outcome.seconds:.1f} s)\n")
    sys.stdout.flush()


def _keep(store: str, signal: str, outcomes: Sequence[Outcome], load: tuple[float, float]) -> None:
    """What was not tried this time keeps its figures."""
    known: dict[str, Any] = json.loads(RESULTS.read_text())["stores"] if RESULTS.exists() else {}
    known.setdefault(store, {})[signal] = {
        "at": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "load": [round(one, 1) for one in load],
        "cells": [asdict(outcome) for outcome in outcomes],
    }
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    RESULTS.write_text(json.dumps({"machine": machine, "stores": known}, indent=1) + "\n")
    PAGE.write_text(render(json.loads(RESULTS.read_text())))


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10, check=False
    )
    return found.stdout.strip() or "unknown"


def render(results: dict[str, Any]) -> str:
    runs = {
        (store, signal): results["stores"][store][signal]
        for store, signal in product(STORES, SIGNALS)
        if signal in results["stores"].get(store, {})
    }
    columns = "Cells | Violations | Recovery p50 | p95 | p99"
    lines = [HEAD, f"| Store | Signal | {columns} | Load | Tried |", "|---|---|---|---|---|---|---|---|---|"]
    for (store, signal), found in runs.items():
        load = " to ".join(str(one) for one in found["load"]) or "not noted"
        tried = f"{found['at']}, `{found['commit']}`"
        lines.append(f"| {store} | {signal} | {_figures(found['cells'])} | {load} | {tried} |")
    lines += ["", *(f"- {store}, {signal}: {run['note']}" for (store, signal), run in runs.items() if "note" in run)]
    machine = results["machine"]
    lines += [
        "",
        f"Python {machine['python']}, {machine['cores']} shared cores; load: runnable processes, 1 minute, at",
    ]
    lines += ["start and end of the run.", "", "## By point", "", f"| Store | Signal | Point | {columns} |"]
    lines += ["|---|---|---|---|---|---|---|---|", *_by_point(runs)]
    lines += [
        "",
        "## Points killed elsewhere",
        "",
        "| Test in `tests/crash` | Stores, in turn | SIGKILL before and after | Held before |",
        "|---|---|---|---|",
    ]
    for test, kills in KILLED_IN.items():
        killed, held = (", ".join(f"`{one}`" for one in sorted(places)) for places in (kills.places, kills.held))
        lines.append(f"| `{test}` | {', '.join(kills.stores)} | {killed} | {held} |")
    return "\n".join(lines) + "\n"


def _by_point(runs: dict[tuple[str, str], Any]) -> list[str]:
    lines: list[str] = []
    for (store, signal), found in runs.items():
        for point in sorted({one["cell"]["point"] for one in found["cells"]}):
            at = [one for one in found["cells"] if one["cell"]["point"] == point]
            lines.append(f"| {store} | {signal} | `{point}` | {_figures(at)} |")
    return lines


def _figures(tried: Sequence[dict[str, Any]]) -> str:
    violations = sum(len(one["violations"]) + (not one["reached"]) for one in tried)
    times = sorted(one["recovery"] for one in tried if one["recovery"] is not None)
    shown = (f"{times[int(len(times) * share)]:.2f} s" if times else "none needed" for share in SHARES)
    return f"{len(tried)} | {violations} | {' | '.join(shown)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
