"""docs/performance.md, made from the results file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, cast

from bench.misses import LIMITS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """\
# Performance

Made by `python -m bench` from `bench/results/latest.json`; don't edit. The model is a stand-in that answers at once, so
the figures are the platform's own time. "Target" is what the design asks for.

"""


class Row(NamedTuple):
    """`met` is None where there is no target."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


def _within(found: dict[str, Any], **most: float) -> bool:
    return all(found[name] <= value for name, value in most.items())


def missed(figures: dict[str, Any]) -> list[str]:
    """The rows whose target is not reached."""
    return [row.what for row in _rows(figures) if row.met is False]


def write_page(results: Path) -> None:
    document = json.loads(results.read_text())
    about, figures = document["about"], document["figures"]
    marks = {None: "", True: "met", False: "**missed**"}
    rows = [f"| {row.what} | {row.measured} | {row.target} | {marks[row.met]} |" for row in _rows(figures)]
    text = (
        HEAD
        + f"Measured {about['date']} at commit {about['commit']}: {about['machine']}.\n\n"
        + "| What | Measured | Target | |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
        + _misses(missed(figures))
        + _notes(figures)
    )
    PAGE.write_text(text)


def _rows(figures: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
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
        found = figures["wake"][WAKE]
        rows.append(Row(WAKE, _times(found), "15 ms", _within(found, p50_ms=15)))
    if "readers" in figures:
        found = figures["readers"]["1,000 live readers"]
        rows.append(_readers("1,000 live stream readers", found))
    if "egress" in figures:
        rows += _egress(figures["egress"])
    rows += _vault(figures.get("vault")) + _mcp(figures.get("mcp"))
    if "memory" in figures:
        rows += _memory(figures["memory"]["memory, MB"])
    rows += _webhooks(figures.get("webhooks", {}))
    return rows + _files(figures.get("files", {})) + _mounts(figures.get("mounts"))


WAKE = "wake of a session with 10,000 events"


def _latency(found: dict[str, Any]) -> list[Row]:
    added, tools = found["first token, added"], found["first token, with tools less without"]
    stopped, many = found["first token while no sandbox can be made, less with"], found["session create, 16 clients"]
    return [
        _timed("send to first byte of the model request", found["send to model request"], 3, 8),
        _timed("added time to first token", added, 5, 12),
        Row(
            "time to first token with tools, less without",
            f"p50 {tools['p50_ms']} ms",
            "under 1 ms",
            tools["p50_ms"] < 1,
        ),
        Row(
            "time to first token while no sandbox can be made, less with",
            f"p50 {stopped['p50_ms']} ms",
            "0, to within 0.1 ms",
            stopped["p50_ms"] <= 0.1,
        ),
        _timed("send to `agent.message`, no tool", found["send to agent.message"], 8),
        _timed("session create", found["session create"], 1.5, 3),
        Row("session create, 16 clients", f"{many['per_second']}/s", "1,000/s", many["per_second"] >= 1000),
    ]


def _vault(found: dict[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    return [_timed("a model's first token through the vault, added", found["added"], 2)]


def _mcp(found: dict[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    return [_timed("an MCP call through the vault, added", found["added"], 5)]


def _egress(found: dict[str, Any]) -> list[Row]:
    tls, bare = found["tunnel, TLS"], found["tunnel, bare bytes"]
    return [
        Row("egress tunnel, TLS, against the same transfer without it", _share(tls), "70 %", tls["share"] >= 0.7),
        Row("egress tunnel, bare bytes, against the same transfer without it", _share(bare)),
    ]


def _share(found: dict[str, Any]) -> str:
    return f"{found['share']:.0%} ({found['through_mb_s']} of {found['direct_mb_s']} MB/s)"


def _times(found: dict[str, Any]) -> str:
    return f"p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms"


def _plain_times(found: dict[str, Any]) -> str:
    return f"p50 {found['p50']} ms, p95 {found['p95']} ms"


def _timed(what: str, found: dict[str, Any], p50: float, p95: float | None = None) -> Row:
    """A row whose targets are milliseconds."""
    most = {"p50_ms": p50} if p95 is None else {"p50_ms": p50, "p95_ms": p95}
    said = ", ".join(f"{name.removesuffix('_ms')} {value:g} ms" for name, value in most.items())
    return Row(what, _times(found), said, _within(found, **most))


def _appends(what: str, found: dict[str, Any]) -> Row:
    rate = found["events_per_s"]
    return Row(what, f"{rate:,} events/s", "20,000 events/s", rate >= 20_000)


def _readers(what: str, found: dict[str, Any]) -> Row:
    said = f"{_times(found)}, {found['lost']} lost"
    return Row(what, said, "p95 50 ms, 0 lost", _within(found, p95_ms=50, lost=0))


def _store(found: dict[str, Any]) -> list[Row]:
    one, many = found["one_writer"], found["many_sessions"]
    return [
        _timed("durable append, one writer", one, 0.25),
        _appends("durable append, 64 sessions", many),
        Row("one `fdatasync` of 8 kB on this disk, for comparison", f"p50 {found['fdatasync_8k_ms']} ms"),
    ]


def _postgres(found: dict[str, Any]) -> list[Row]:
    many, reading = found["many_sessions"], found["1,000 live readers"]
    return [
        Row("durable append to PostgreSQL, one writer", _times(found["one_writer"])),
        _appends("durable append to PostgreSQL, 64 sessions", many),
        _readers("1,000 live stream readers, log on PostgreSQL", reading),
    ]


def _recovery(found: dict[str, Any]) -> list[Row]:
    rows = [("killed harness to next event of its session", "killed harness to next event, same host", 1)]
    rows.append(("killed host to next event at another host", "killed host to next event, other host", 5))
    return [
        Row(what, _times(found[name]), f"p95 {seconds} s", _within(found[name], p95_ms=1000 * seconds))
        for what, name, seconds in rows
        if name in found
    ]


def _sandbox(found: dict[str, Any]) -> list[Row]:
    times = found["times_ms"]
    cold = next(value for label, value in times.items() if label.startswith("first command, cold"))
    live, following = found["memory_mb"]["total"], times["next command"]
    return [
        Row("first sandbox command, cold", _plain_times(cold), "p50 20 ms", _within(cold, p50=20)),
        Row("next command", _plain_times(following), "p50 6 ms", _within(following, p50=6)),
        Row("a live sandbox with its shim (PSS)", f"{live} MB", "under 4 MB", live < 4),
    ]


def _webhooks(found: dict[str, Any]) -> list[Row]:
    one = found.get("10,000 deliveries after a kill")
    if one is None:
        return []
    came = f"{one['lost']} lost, {one['under another id']} under another id, {one['per_s']}/s"
    return [Row("10,000 webhooks, the server killed while it sent them", came, "0 lost", one["lost"] == 0)]


def _files(found: dict[str, Any]) -> list[Row]:
    return [
        Row(
            f"a file of {what}: growth of the server's process",
            f"{one['growth_mb']} MB, at {one['mb_s']} MB/s",
            "64 MB",
            _within(cast("dict[str, Any]", one), growth_mb=64),
        )
        for what, one in found.items()
        if isinstance(one, dict)
    ]


def _mounts(found: dict[str, Any] | None) -> list[Row]:
    if found is None:
        return []
    times: dict[str, Any] = found["2,000 memories"]
    what = "2,000 memories"
    beside = f"p50 {times['next command']['p50_ms']} ms, {times['next without']['p50_ms']} ms without"
    return [
        Row(
            f"a store of {what}: mounted with a session's first command, added",
            _times(times["mount"]),
            "p50 300 ms",
            _within(times["mount"], p50_ms=300),
        ),
        Row(f"a store of {what}: next command beside it", beside),
    ]


def _memory(found: dict[str, Any]) -> list[Row]:
    shown: list[Row] = []
    for what, value in found.items():
        if isinstance(value, dict):
            roles = cast("dict[str, float]", value).items()
            shown.append(Row(f"memory, {what}", ", ".join(f"{role} {mb} MB" for role, mb in roles)))
        elif "idle" in what:
            shown.append(Row(what.removesuffix(", kB"), f"{value} kB", "none, to within 0.2 kB", value <= 0.2))
        else:
            shown.append(Row(what.removesuffix(", kB"), f"{value} kB"))
    return shown


def _misses(missed: list[str]) -> str:
    if not missed:
        return "\nEvery target is met.\n"
    lines = [f"- {what}: {LIMITS.get(what, 'the limit has not been looked for yet.')}" for what in missed]
    return "\n## Targets that are missed, and what limits them\n\n" + "\n".join(lines) + "\n"


def _notes(figures: dict[str, Any]) -> str:
    loads = ", ".join(f"{part} {found['load before']:.1f}" for part, found in figures.items())
    return f"\nLoad average before each part (other work on the machine): {loads}.\n"
