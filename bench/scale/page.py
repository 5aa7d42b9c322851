"""The tables of docs/scaling.md, between two marks; the words around them are written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- tables: begin (python -m bench.scale) -->", "<!-- tables: end -->"
STORED = (
    "create",
    "send to idle",
    "list first page",
    "list by status",
    "list by agent",
    "wake",
    "claim",
    "housekeeping: which of 100 live",
)
NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def write_page(found: dict[str, Any]) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [_running(found), *(_stored(found, store) for store in NAMES), _about(found)]
    PAGE.write_text(f"{before}{BEGIN}\n\n{''.join(parts)}{END}{after}")


def _running(found: dict[str, Any]) -> str:
    rows = [
        f"| {NAMES[store]} | {processes} | {count} | {cell['turns per second']} | {_times(cell['send to idle'])} "
        f"| {cell['cpu ms a turn']['server']} + {cell['cpu ms a turn']['vault']} |"
        for store in NAMES
        for processes, counts in found.get(f"running-{store}", {"figures": {}})["figures"].items()
        for count, cell in counts.items()
    ]
    head = "| Store | Servers | Sessions at once | Turns/s | Send to idle, ms | CPU ms a turn, server + vault |\n"
    return f"### Sessions at once\n\n{head}|---|---|---|---|---|---|\n{_lines(rows)}\n"


def _stored(found: dict[str, Any], store: str) -> str:
    if f"stored-{store}" not in found:
        return ""
    counts = found[f"stored-{store}"]["figures"]
    rows = [_row(what, [_cell(figures[what]) for figures in counts.values()]) for what in STORED]
    for what, unit in (("start, s", "s"), ("server, MB", "MB"), ("size MB", "MB")):
        shown = [f"{figures[what]} {unit}" for figures in counts.values()]
        rows.append(_row({"start, s": "start", "server, MB": "server's memory", "size MB": "size"}[what], shown))
    heads = [f"{int(count):,}" for count in counts]
    each = next(iter(counts.values()))["rows of each"]
    return (
        f"### Sessions stored, {NAMES[store]}\n\nEach has the rows of one turn ({each} in all tables).\n\n"
        f"{_row('', heads)}\n{_row('---', ['---'] * len(heads)).replace(' ', '')}\n{_lines(rows)}\n"
    )


def _row(first: str, rest: list[str]) -> str:
    return "| " + " | ".join([first, *rest]) + " |"


def _cell(found: dict[str, Any]) -> str:
    cpu = f" (CPU {found['server cpu ms']})" if "server cpu ms" in found else ""
    return f"{_times(found)}{cpu}"


def _times(found: dict[str, Any]) -> str:
    return f"p50 {_short(found['p50_ms'])}, p95 {_short(found['p95_ms'])}, least {_short(found['min_ms'])}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _lines(rows: list[str]) -> str:
    return "".join(f"{row}\n" for row in rows)


def _about(found: dict[str, Any]) -> str:
    rows = [
        f"- {part}: {one['about']['date']}, commit {one['about']['commit']}, {one['about']['machine']}; "
        f"load average before it {one['load before']}\n"
        for part, one in found.items()
    ]
    return f"### Measured\n\n{''.join(rows)}\n"
