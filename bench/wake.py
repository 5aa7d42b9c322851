"""What it takes to go on with a session of 10,000 events: reading its state from the snapshot and what follows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import summary
from outrider.clock import SystemClock
from outrider.harness.journal import Journal
from outrider.ids import MonotonicIds
from outrider.ports.log import NewEvent, SessionKey
from outrider.ports.records import SessionRecord
from outrider.session import events
from outrider.session.events import EventFactory
from outrider.store.sqlite import SqliteStore
from outrider.testing.store_trial import bury_all

TURNS = 1000  # of ten rows each
KEPT_TURNS = 150  # what a compaction leaves in view
ROUNDS = 50


async def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        async with await SqliteStore.open(Path(name) / "log.db") as store:
            key = SessionKey(store.default_workspace, "sesn_1")
            ids, clock = MonotonicIds(), SystemClock()
            await _fill(store, key, EventFactory("sthr_1", "bench", ids, clock))
            (lease,) = await store.claim("bench", limit=1, key=key)
            taken: list[float] = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                await Journal(store, lease, ids, clock).load()
                taken.append(time.perf_counter() - start)
            return {"wake of a session with 10,000 events": summary(taken)}


async def _fill(store: SqliteStore, key: SessionKey, factory: EventFactory) -> None:
    """A log written by the owner's own journal, snapshots and all, with one compaction on the way."""
    agent: dict[str, object] = {"id": "agent_1", "name": "bench", "model": {"id": "m"}, "tools": []}
    opening = factory.internal(events.CREATED, {"agent": agent, "environment": {}})
    now = factory.now()
    record = SessionRecord(
        key.workspace, key.session, "sthr_1", "agent_1", 1, "env_1", "idle", now, now, None, b"{}", b"{}", b"{}", b"{}"
    )
    await store.create_session(record, [opening], wake=True)
    (lease,) = await store.claim("filler", limit=1, key=key)
    journal = Journal(store, lease, MonotonicIds(), SystemClock())
    await journal.load()
    for turn in range(TURNS):
        journal.stage(*_turn(factory, turn))
        if turn == TURNS - KEPT_TURNS:
            record_of_summary = {"summary": "what happened so far", "keep": 0, "tokens": 100}
            journal.stage(factory.internal(events.SUMMARY, record_of_summary))
        journal.stage_idle({"type": "end_turn"}, None)
        await journal.flush(exact=True)
    await bury_all(store)


def _turn(factory: EventFactory, number: int) -> list[NewEvent]:
    message = factory.waiting("user.message", {"content": events.text_blocks(f"Question {number}. " + "x" * 200)})
    start = factory.public("span.model_request_start")
    answer = factory.public("agent.message", {"content": events.text_blocks("An answer. " + "y" * 400)})
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }
    end = factory.public(
        "span.model_request_end", {"model_request_start_id": start.id, "model_usage": usage, "is_error": False}
    )
    reply = {"blocks": [{"ref": answer.id, "index": 0}], "stop_reason": "end_turn", "stop_details": None}
    return [
        message,
        factory.public("session.status_running"),
        factory.processed(message.id),
        start,
        answer,
        factory.internal(events.REPLY, reply),
        end,
    ]
