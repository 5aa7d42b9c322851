"""docs/performance.md, made from the results file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """\
# Performance

Made by `python -m bench` from `bench/results/latest.json`; don't edit. The model is a stand-in that answers at once, so
the figures are the platform's own time. "Target" is what the design asks for.

"""


def write_page(results: Path) -> None:
    document = json.loads(results.read_text())
    about, figures = document["about"], document["figures"]
    rows = [f"| {what} | {value} | {target} |" for what, value, target in _rows(figures)]
    text = (
        HEAD
        + f"Measured {about['date']} at commit {about['commit']}: {about['machine']}.\n\n"
        + "| What | Measured | Target |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
        + _notes(figures)
    )
    PAGE.write_text(text)


def _rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    if "latency" in figures:
        rows += _latency(figures["latency"])
    if "store" in figures:
        rows += _store(figures["store"])
    if "postgres" in figures:
        rows += _postgres(figures["postgres"])
    if "sandbox" in figures:
        rows += _sandbox(figures["sandbox"])
    if "recovery" in figures:
        rows += _recovery(figures["recovery"])
    if "wake" in figures:
        rows.append(("wake of a session with 10,000 events", _times(figures["wake"][WAKE]), "15 ms"))
    if "readers" in figures:
        found = figures["readers"]["1,000 live readers"]
        rows.append(("1,000 live stream readers", f"{_times(found)}, {found['lost']} lost", "p95 50 ms, 0 lost"))
    if "egress" in figures:
        rows += [
            (f"egress {way}, against the same transfer without it", _share(figures["egress"][way]), target)
            for way, target in (("tunnel, TLS", "70 %"), ("tunnel, bare bytes", "none"))
        ]
    rows += _vault(figures.get("vault")) + _mcp(figures.get("mcp"))
    if "memory" in figures:
        rows += _memory(figures["memory"]["memory, MB"])
    rows += _webhooks(figures.get("webhooks", {}))
    return rows + _files(figures.get("files", {})) + _mounts(figures.get("mounts"))


WAKE = "wake of a session with 10,000 events"


def _latency(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    added, tools = found["first token, added"], found["first token, with tools less without"]
    stopped = found["first token while no sandbox can be made, less with"]
    return [
        ("send to first byte of the model request", _times(found["send to model request"]), "p50 3 ms, p95 8 ms"),
        ("added time to first token", f"p50 {added['p50_ms']} ms, p95 {added['p95_ms']} ms", "p50 5 ms, p95 12 ms"),
        ("time to first token with tools, less without", f"p50 {tools['p50_ms']} ms", "under 1 ms"),
        ("time to first token while no sandbox can be made, less with", f"p50 {stopped['p50_ms']} ms", "0"),
        ("send to `agent.message`, no tool", _times(found["send to agent.message"]), "p50 8 ms"),
        ("session create", _times(found["session create"]), "p50 1.5 ms, p95 3 ms"),
        ("session create, 16 clients", f"{found['session create, 16 clients']['per_second']}/s", "1,000/s"),
    ]


def _vault(found: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    if found is None:
        return []
    return [("a model's first token through the vault, added", _times(found["added"]), "p50 2 ms")]


def _mcp(found: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    if found is None:
        return []
    return [("an MCP call through the vault, added", _times(found["added"]), "p50 5 ms")]


def _share(found: dict[str, Any]) -> str:
    return f"{found['share']:.0%} ({found['through_mb_s']} of {found['direct_mb_s']} MB/s)"


def _times(found: dict[str, Any]) -> str:
    return f"p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms"


def _store(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    one, many = found["one_writer"], found["many_sessions"]
    return [
        ("durable append, one writer", _times(one), "p50 0.25 ms"),
        ("durable append, 64 sessions", f"{many['events_per_s']:,} events/s", "20,000 events/s"),
        ("one `fdatasync` of 8 kB on this disk, for comparison", f"p50 {found['fdatasync_8k_ms']} ms", ""),
    ]


def _postgres(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    many, reading = found["many_sessions"], found["1,000 live readers"]
    return [
        ("durable append to PostgreSQL, one writer", _times(found["one_writer"]), ""),
        ("durable append to PostgreSQL, 64 sessions", f"{many['events_per_s']:,} events/s", "20,000 events/s"),
        (
            "1,000 live stream readers, log on PostgreSQL",
            f"{_times(reading)}, {reading['lost']} lost",
            "p95 50 ms, 0 lost",
        ),
    ]


def _recovery(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [("killed harness to next event of its session", "killed harness to next event, same host", "p95 1 s")]
    rows.append(("killed host to next event at another host", "killed host to next event, other host", "p95 5 s"))
    return [(what, _times(found[name]), target) for what, name, target in rows if name in found]


def _sandbox(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    times = found["times_ms"]
    cold = next(value for label, value in times.items() if label.startswith("first command, cold"))
    live = found["memory_mb"]["total"]
    return [
        ("first sandbox command, cold", f"p50 {cold['p50']} ms, p95 {cold['p95']} ms", "p50 20 ms"),
        ("next command", f"p50 {times['next command']['p50']} ms, p95 {times['next command']['p95']} ms", "p50 6 ms"),
        ("a live sandbox with its shim (PSS)", f"{live} MB", "under 4 MB"),
    ]


def _webhooks(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    one = found.get("10,000 deliveries after a kill")
    if one is None:
        return []
    came = f"{one['lost']} lost, {one['under another id']} under another id, {one['per_s']}/s"
    return [("10,000 webhooks, the server killed while it sent them", came, "0 lost")]


def _files(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (f"a file of {what}: growth of the server's process", f"{one['growth_mb']} MB, at {one['mb_s']} MB/s", "64 MB")
        for what, one in found.items()
        if isinstance(one, dict)
    ]


def _mounts(found: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    if found is None:
        return []
    times: dict[str, Any] = found["2,000 memories"]
    what = "2,000 memories"
    beside = f"p50 {times['next command']['p50_ms']} ms, {times['next without']['p50_ms']} ms without"
    return [
        (f"a store of {what}: mounted with a session's first command, added", _times(times["mount"]), "300 ms"),
        (f"a store of {what}: next command beside it", beside, ""),
    ]


def _memory(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    shown: list[tuple[str, str, str]] = []
    for what, value in found.items():
        if isinstance(value, dict):
            roles = cast("dict[str, float]", value).items()
            shown.append((f"memory, {what}", ", ".join(f"{role} {mb} MB" for role, mb in roles), ""))
        else:
            shown.append((what.removesuffix(", kB"), f"{value} kB", "none" if "idle" in what else ""))
    return shown


def _notes(figures: dict[str, Any]) -> str:
    loads = ", ".join(f"{part} {found['load before']:.1f}" for part, found in figures.items())
    return f"\nLoad average before each part (other work on the machine): {loads}.\n"
