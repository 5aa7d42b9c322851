"""What must hold in every session's log, whatever was killed, frozen or cut off: pure checks over its rows.

Nothing here asks a store or a server: rows come in, sentences about what is broken come out. The kill matrix, the
drill and the property tests use the same checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from outrider.ports.log import Row
from outrider.session import events

WAITS = frozenset({"user.message", "user.interrupt", "system.message"})
USES = frozenset({"agent.tool_use", "agent.custom_tool_use", "agent.mcp_tool_use"})
RESULTS = {
    "agent.tool_result": "tool_use_id",
    "agent.mcp_tool_result": "mcp_tool_use_id",
    "user.custom_tool_result": "custom_tool_use_id",
    "user.tool_result": "tool_use_id",
}
STATUSES = {
    "session.status_running": "running",
    "session.status_rescheduled": "rescheduling",
    "session.status_idle": "idle",
    "session.status_terminated": "terminated",
}
FOLLOWS = {
    "idle": frozenset({"running", "idle", "terminated"}),  # idle again: one of several awaited answers came
    "running": frozenset({"rescheduling", "idle", "terminated"}),
    "rescheduling": frozenset({"running", "idle", "terminated"}),
    "terminated": frozenset[str](),
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule, and where."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


def check(rows: Sequence[Row], *, acknowledged: Iterable[str] = (), at_rest: bool = True) -> list[Violation]:
    """What is wrong with a whole log, `seq` 1 onwards. `acknowledged`: ids of events that a client was told are stored.

    `at_rest`: nothing is under way any more, so the session must be idle, waiting or terminated, with no request open
    and no call without its result, but those that wait for the client.
    """
    found = [*_numbered(rows), *_acknowledged(rows, acknowledged), *_owners(rows), *_calls(rows), *_spans(rows)]
    found += [*_processed(rows), *_statuses(rows)]
    return [*found, *_ended(rows)] if at_rest else found


def check_seen(rows: Sequence[Row], seen: Sequence[tuple[str, bool]]) -> list[Violation]:
    """What is wrong with what one client saw on one connection: nothing that is not in the log, and nothing twice or
    out of its order. `seen`: event ids with whether they were shown as processed (a queued event is shown twice, when
    it comes and when it is taken up)."""
    shown = {row.id: row.seq for row in rows if row.public}
    again = {row.processes: row.seq for row in rows if row.processes is not None}
    found = [Violation("client-saw-only-the-log", name) for name, _ in seen if name not in shown]
    last = 0
    for name, processed in seen:
        place = again.get(name, shown.get(name, 0)) if processed else shown.get(name, 0)
        if name in shown and place <= last:
            found.append(Violation("client-saw-each-once-in-order", f"{name} at {place} after {last}"))
        last = max(last, place)
    return found


def _numbered(rows: Sequence[Row]) -> list[Violation]:
    wrong = [f"{row.seq} stands at {place}" for place, row in enumerate(rows, 1) if row.seq != place]
    doubled = [f"{name} {count} times" for name, count in Counter(row.id for row in rows).items() if count > 1]
    return [Violation("gapless", what) for what in wrong[:1]] + [Violation("ids-once", what) for what in doubled]


def _acknowledged(rows: Sequence[Row], acknowledged: Iterable[str]) -> list[Violation]:
    stored = {row.id for row in rows}
    return [Violation("acknowledged", f"{name} is not there") for name in acknowledged if name not in stored]


def _owners(rows: Sequence[Row]) -> list[Violation]:
    highest, found = 0, list[Violation]()
    for row in rows:
        if row.epoch and row.epoch < highest:
            found.append(Violation("epochs-never-fall", f"row {row.seq} by {row.epoch} after {highest}"))
        highest = max(highest, row.epoch)
    return found


def _calls(rows: Sequence[Row]) -> list[Violation]:
    uses = {row.id: row.seq for row in rows if row.type in USES}
    intents = Counter(name for row in rows if row.type == events.INTENT for name in [_body(row)["call_id"]])
    results = [(_body(row)[RESULTS[row.type]], row.seq) for row in rows if row.type in RESULTS]
    counted = Counter(name for name, _ in results)
    found = [Violation("one-intent", f"{name} has {count}") for name, count in intents.items() if count > 1]
    found += [Violation("one-result", f"{name} has {count}") for name, count in counted.items() if count > 1]
    found += [Violation("intent-of-a-use", f"{name} was never asked for") for name in intents if name not in uses]
    return found + [
        Violation("result-of-a-use", f"{name} at {seq}") for name, seq in results if uses.get(name, seq) >= seq
    ]


def _spans(rows: Sequence[Row]) -> list[Violation]:
    """Requests follow each other: one is open at most, and each is ended once."""
    open_span, found = "", list[Violation]()
    for row in rows:
        if row.type == "span.model_request_start":
            if open_span:
                found.append(Violation("one-request-open", f"{row.id} while {open_span} is open"))
            open_span = row.id
        elif row.type == "span.model_request_end":
            if _body(row)["model_request_start_id"] != open_span:
                found.append(Violation("span-ended-once", f"row {row.seq} ends what is not open"))
            open_span = ""
    return found


def _processed(rows: Sequence[Row]) -> list[Violation]:
    waiting = {row.id: row.seq for row in rows if row.type in WAITS and row.processed_at is None}
    taken = [(row.processes, row.seq) for row in rows if row.processes is not None]
    counted = Counter(name for name, _ in taken)
    found = [Violation("processed-once", f"{name} {count} times") for name, count in counted.items() if count > 1]
    return found + [
        Violation("processed-after-it-came", f"{name} at {seq}")
        for name, seq in taken
        if waiting.get(name or "", seq) >= seq
    ]


def _statuses(rows: Sequence[Row]) -> list[Violation]:
    status, found = "idle", list[Violation]()
    for row in rows:
        after = STATUSES.get(row.type)
        if after is None:
            continue
        if after not in FOLLOWS[status]:
            found.append(Violation("statuses-by-the-table", f"{status} to {after} at {row.seq}"))
        status = after
    return found


def _ended(rows: Sequence[Row]) -> list[Violation]:
    status, reason = _last_status(rows)
    if status not in ("idle", "terminated"):
        return [Violation("comes-to-rest", f"still {status}")]
    answered = {_body(row)[RESULTS[row.type]] for row in rows if row.type in RESULTS}
    open_calls = {row.id for row in rows if row.type in USES} - answered
    waits = set(reason.get("event_ids", ())) if reason.get("type") == "requires_action" else set[str]()
    begun = {row.id for row in rows if row.type == "span.model_request_start"}
    ended = {_body(row)["model_request_start_id"] for row in rows if row.type == "span.model_request_end"}
    taken = {row.processes for row in rows}
    queued = [row.id for row in rows if row.type == "user.message" and row.processed_at is None and row.id not in taken]
    found = [Violation("every-use-has-its-result", name) for name in sorted(open_calls) if not waits]
    found += [Violation("waits-for-open-calls-only", name) for name in sorted(waits - open_calls)]
    found += [Violation("no-open-request", name) for name in sorted(begun - ended)]
    takes_up = not waits and status == "idle" and reason.get("type") != "budget_reached"
    return found + [Violation("queue-is-taken-up", name) for name in queued if takes_up]


def _last_status(rows: Sequence[Row]) -> tuple[str, dict[str, Any]]:
    last = next((row for row in reversed(rows) if row.type in STATUSES), None)
    if last is None:
        return "idle", {}
    reason = _body(last).get("stop_reason") if last.type == "session.status_idle" else None
    return STATUSES[last.type], reason or {}


def _body(row: Row) -> Any:
    return events.decode(row.body)
