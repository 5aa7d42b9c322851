"""Properties of the fold and of `next_action`, on every prefix of thousands of random logs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from session_sim import AGENT, BOUNDS, LISTING, PROFILE, Sim

from outrider.harness.context import build_request
from outrider.harness.next_action import CallModel, RunTools, next_action
from outrider.ports.log import Row
from outrider.session import costs, events
from outrider.session import state as states
from outrider.session.fold import apply, fold
from outrider.session.state import Context, State
from outrider.testing.invariants import RESULTS

SEEDS = st.integers(min_value=0, max_value=2**32)
ALLOWED = {
    "idle": {"running", "terminated", "idle"},
    "running": {"idle", "rescheduling", "terminated"},
    "rescheduling": {"running", "idle", "terminated"},
    "terminated": set[str](),
}


def session(seed: int) -> Sim:
    sim = Sim(seed)
    sim.run(sim.rng.randrange(20, 160))
    return sim


@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_incremental_fold_equals_whole_fold_at_every_snapshot(seed: int) -> None:
    sim = session(seed)
    assert states.dump(fold(sim.rows)) == states.dump(sim.state)
    cut = sim.rng.randint(1, len(sim.rows))  # one row alone can happen, rarely
    resumed = states.load(states.dump(fold(sim.rows[:cut])))
    assert states.dump(fold(sim.rows[cut:], resumed)) == states.dump(sim.state)


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_the_light_fold_is_the_whole_fold_without_the_context(seed: int) -> None:
    sim = session(seed)
    light = fold(sim.rows, State())
    for whole in (sim.state, light):
        for item in whole.queue:
            item.content = []
    assert msgspec.json.encode(light) == msgspec.json.encode(msgspec.structs.replace(sim.state, context=None))


@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_no_second_intent_and_at_most_one_result_for_a_use(seed: int) -> None:
    sim = session(seed)
    intents = Counter(events.decode(row.body)["call_id"] for row in sim.rows if row.type == events.INTENT)
    results = Counter(answered(row) for row in sim.rows if row.type in RESULTS)
    assert max(intents.values(), default=1) == 1
    assert max(results.values(), default=1) == 1
    assert intents.keys() <= {row.id for row in sim.rows if row.type in ("agent.tool_use", "agent.mcp_tool_use")}


def answered(row: Row) -> str:
    body = events.decode(row.body)
    return body[RESULTS[row.type]]


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_only_the_tables_transitions_happen(seed: int) -> None:
    sim = session(seed)
    state = State()
    for row in sim.rows:
        before = state.status
        apply(state, row)
        assert state.status == before or state.status in ALLOWED[before], (before, row.type)
        if row.type == "session.status_running":
            assert before != "running"


@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_every_log_comes_to_rest_idle_or_waiting_for_a_client(seed: int) -> None:
    sim = session(seed)
    sim.settle()
    assert sim.state.status == "idle"
    assert sim.state.open_span is None
    assert sim.state.requires_action == bool(sim.state.open_calls)
    assert sim.state.requires_action or sim.state.paused or not sim.state.waiting("user.message")


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_no_request_begins_at_the_cap_and_every_request_is_paid_for(seed: int) -> None:
    sim = session(seed)
    state = State()
    for row in sim.rows:
        before, ended = state.spending.settled, row.type == "span.model_request_end"
        if row.type == "span.model_request_start":
            assert not costs.capped(state.spending, states.active_seconds(state, row.processed_at or ""))
        apply(state, row)
        assert (state.spending.settled > before) == ended


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_next_action_is_pure_and_never_starts_what_was_started(seed: int) -> None:
    sim = session(seed)
    state = State(context=Context())
    for row in sim.rows:
        apply(state, row)
        before = states.dump(state)
        action = next_action(state, BOUNDS)
        assert next_action(state, BOUNDS) == action
        assert states.dump(state) == before
        if isinstance(action, RunTools):
            started = {events.decode(r.body)["call_id"] for r in sim.rows[: row.seq] if r.type == events.INTENT}
            assert not started & set(action.start)


@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_every_prompt_is_well_formed_and_a_pure_function_of_the_log(seed: int) -> None:
    sim = session(seed)
    state = State(context=Context())
    for row in sim.rows:
        apply(state, row)
        if not isinstance(next_action(state, BOUNDS), CallModel):
            continue
        assert state.context is not None
        body = build_request(state.context, PROFILE, purpose="turn")
        again = fold(sim.rows[: row.seq]).context
        assert again is not None
        assert events.encode(build_request(again, PROFILE, purpose="turn")) == events.encode(body)
        check_messages(body["messages"])


def check_messages(messages: list[dict[str, Any]]) -> None:
    """Roles alternate from a user's turn on; every tool use is answered in the very next message."""
    assert messages[0]["role"] == "user"
    for earlier, later in pairwise(messages):
        assert earlier["role"] != later["role"]
        assert ids(earlier, "tool_use", "id") == ids(later, "tool_result", "tool_use_id")
    assert not ids(messages[-1], "tool_use", "id")


def ids(message: dict[str, Any], kind: str, name: str) -> list[str]:
    return [block[name] for block in message["content"] if block["type"] == kind]


def test_system_and_tools_are_the_same_bytes_whatever_happened() -> None:
    short, long = Sim(1), Sim(2)
    long.run(400)
    contexts = [fold(short.rows).context or Context(), long.state.context or Context()]
    first, later = (build_request(without_servers(context), PROFILE, purpose="compaction") for context in contexts)
    assert events.encode([first["system"], first["tools"]]) == events.encode([later["system"], later["tools"]])
    assert {tool["name"] for tool in first["tools"]} == {"bash", "edit", "grep", "read", "write", "lookup"}
    assert AGENT["name"] == "worker"
    again, once_more = (
        build_request(with_servers(context), PROFILE, purpose="compaction")["tools"] for context in contexts
    )
    assert events.encode(again) == events.encode(once_more)
    assert [tool["name"] for tool in again][-2:] == ["mcp__notes__add", "mcp__notes__erase"]


def without_servers(context: Context) -> Context:
    return msgspec.structs.replace(context, mcp={})


def with_servers(context: Context) -> Context:
    return msgspec.structs.replace(context, mcp={"notes": LISTING})
