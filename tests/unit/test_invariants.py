"""The checks of `testing.invariants`: silent on good logs, and each finds the fault that is put into one."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from session_sim import Sim

from outrider.ports.log import Row
from outrider.session import events
from outrider.testing import invariants
from outrider.testing.invariants import RESULTS, STATUSES, USES, check, check_seen

SEEDS = st.integers(0, 10_000)
Rows = list[Row]
Fault = Callable[[Rows, random.Random], Rows | None]
FAULTS: dict[str, tuple[Fault, frozenset[str]]] = {}


def session(seed: int) -> Rows:
    """A session that has come to rest: clients and crashes while it runs, then the harness alone."""
    sim = Sim(seed)
    for _ in range(30):
        sim.rng.choice((sim.client, sim.harness, sim.harness, sim.harness))()
    while sim.harness():
        pass
    return sim.rows


def fault(*rules: str) -> Callable[[Fault], Fault]:
    """Registers a way to spoil a log (None: this log offers no occasion) and the rules of which one must notice."""

    def register(function: Fault) -> Fault:
        FAULTS[function.__name__] = (function, frozenset(rules))
        return function

    return register


def numbered(rows: Rows) -> Rows:
    return [replace(row, seq=seq) for seq, row in enumerate(rows, 1)]


def pick(rows: Rows, wanted: Callable[[Row], bool], rng: random.Random) -> int | None:
    found = [place for place, row in enumerate(rows) if wanted(row)]
    return rng.choice(found) if found else None


def doubled(rows: Rows, place: int | None) -> Rows | None:
    """The row once more, under a new id, right behind itself."""
    if place is None:
        return None
    return numbered([*rows[: place + 1], replace(rows[place], id=f"{rows[place].id}x"), *rows[place + 1 :]])


def without(rows: Rows, place: int | None) -> Rows | None:
    return None if place is None else numbered([*rows[:place], *rows[place + 1 :]])


@fault("gapless")
def a_row_is_missing(rows: Rows, rng: random.Random) -> Rows | None:
    if len(rows) < 2:
        return None
    place = rng.randrange(len(rows) - 1)
    return [*rows[:place], *rows[place + 1 :]]


@fault("gapless")
def two_rows_changed_places(rows: Rows, rng: random.Random) -> Rows | None:
    if len(rows) < 2:
        return None
    place = rng.randrange(len(rows) - 1)
    return [*rows[:place], rows[place + 1], rows[place], *rows[place + 2 :]]


@fault("ids-once")
def an_id_is_there_twice(rows: Rows, rng: random.Random) -> Rows | None:
    place = rng.randrange(len(rows))
    return numbered([*rows[: place + 1], rows[place], *rows[place + 1 :]])


@fault("epochs-never-fall")
def a_frozen_owner_wrote_after_its_successor(rows: Rows, rng: random.Random) -> Rows | None:
    owned = [place for place, row in enumerate(rows) if row.epoch > 0]
    if len(owned) < 2:
        return None
    place = rng.choice(owned[:-1])
    return [*rows[:place], replace(rows[place], epoch=rows[place].epoch + 1000), *rows[place + 1 :]]


@fault("one-intent")
def a_call_was_begun_twice(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.type == events.INTENT, rng))


@fault("intent-of-a-use")
def something_was_begun_that_nobody_asked_for(rows: Rows, rng: random.Random) -> Rows | None:
    place = pick(rows, lambda row: row.type == events.INTENT, rng)
    if place is None:
        return None
    body = events.encode({"v": 1, "call_id": "sevt_unknown", "epoch": 1})
    return [*rows[:place], replace(rows[place], body=body), *rows[place + 1 :]]


@fault("one-result")
def a_call_has_two_results(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.type in RESULTS, rng))


@fault("result-of-a-use", "waits-for-open-calls-only")
def a_result_has_no_use(rows: Rows, rng: random.Random) -> Rows | None:
    answered = {events.decode(row.body)[RESULTS[row.type]] for row in rows if row.type in RESULTS}
    return without(rows, pick(rows, lambda row: row.type in USES and row.id in answered, rng))


@fault("every-use-has-its-result", "comes-to-rest")
def a_result_is_lost(rows: Rows, rng: random.Random) -> Rows | None:
    if waits_for_client(rows):
        return None
    return without(rows, pick(rows, lambda row: row.type in RESULTS, rng))


@fault("no-open-request", "one-request-open")
def a_request_was_never_ended(rows: Rows, rng: random.Random) -> Rows | None:
    return without(rows, pick(rows, lambda row: row.type == "span.model_request_end", rng))


@fault("span-ended-once")
def a_request_was_ended_twice(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.type == "span.model_request_end", rng))


@fault("one-request-open")
def two_requests_were_open_at_once(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.type == "span.model_request_start", rng))


@fault("processed-once")
def an_event_was_taken_up_twice(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.processes is not None, rng))


@fault("processed-after-it-came")
def something_unknown_was_taken_up(rows: Rows, rng: random.Random) -> Rows | None:
    place = pick(rows, lambda row: row.processes is not None, rng)
    if place is None:
        return None
    return [*rows[:place], replace(rows[place], processes="sevt_unknown"), *rows[place + 1 :]]


@fault("queue-is-taken-up")
def a_message_was_never_taken_up(rows: Rows, rng: random.Random) -> Rows | None:
    if waits_for_client(rows) or at_budget(rows):
        return None
    messages = {row.id for row in rows if row.type == "user.message"}
    return without(rows, pick(rows, lambda row: row.processes in messages, rng))


@fault("statuses-by-the-table")
def a_status_came_where_it_can_not(rows: Rows, rng: random.Random) -> Rows | None:
    return doubled(rows, pick(rows, lambda row: row.type == "session.status_running", rng))


@fault("comes-to-rest")
def a_session_was_left_running(rows: Rows, rng: random.Random) -> Rows | None:
    place = max((n for n, row in enumerate(rows) if row.type == "session.status_idle"), default=None)
    last_running = max((n for n, row in enumerate(rows) if row.type == "session.status_running"), default=-1)
    if place is None or any(last_running < n < place and rows[n].type in STATUSES for n in range(len(rows))):
        return None
    return rows[:place]


def at_budget(rows: Rows) -> bool:
    last = next((row for row in reversed(rows) if row.type == "session.status_idle"), None)
    return last is not None and events.decode(last.body)["stop_reason"]["type"] == "budget_reached"


def waits_for_client(rows: Rows) -> bool:
    last = next((row for row in reversed(rows) if row.type == "session.status_idle"), None)
    return last is not None and events.decode(last.body)["stop_reason"]["type"] == "requires_action"


@settings(deadline=None)
@given(SEEDS)
def test_a_good_log_has_nothing_wrong(seed: int) -> None:
    rows = session(seed)
    assert check(rows, acknowledged=[row.id for row in rows]) == []
    assert [v for n in range(len(rows)) for v in check(rows[:n], at_rest=False)] == []


@pytest.mark.parametrize("name", FAULTS)
@settings(deadline=None)
@given(SEEDS)
def test_a_seeded_fault_is_found(name: str, seed: int) -> None:
    spoil, rules = FAULTS[name]
    spoiled = spoil(session(seed), random.Random(seed))
    assume(spoiled is not None)
    assert spoiled is not None
    found = {violation.rule for violation in check(spoiled)}
    assert found & rules, f"found only {found}"


def test_every_rule_has_a_fault_that_it_finds() -> None:
    """Or it would be a rule that nothing could break."""
    known = set(re.findall(r'Violation\("([a-z-]+)"', inspect.getsource(invariants)))
    of_clients = {"acknowledged", "client-saw-only-the-log", "client-saw-each-once-in-order"}
    assert known - of_clients == {rule for _, rules in FAULTS.values() for rule in rules}


def test_an_acknowledged_event_that_is_gone_is_found() -> None:
    rows = session(3)
    assert [str(v) for v in check(rows, acknowledged=["sevt_gone"])] == ["acknowledged: sevt_gone is not there"]


@settings(deadline=None)
@given(SEEDS, st.data())
def test_what_a_client_saw_is_held_against_the_log(seed: int, data: st.DataObject) -> None:
    rows = session(seed)
    seen = [(row.id, row.processed_at is not None) for row in rows if row.public]
    taken = [(row.processes, row.seq) for row in rows if row.processes is not None]
    for name, seq in sorted(taken, key=lambda one: -one[1]):
        seen.insert(sum(row.public for row in rows[:seq]), (name, True))
    assert check_seen(rows, seen) == []
    half = data.draw(st.integers(0, len(seen)))
    assert check_seen(rows, seen[half:]) == [], "a client may connect at any moment"
    assume(half < len(seen))
    taken_back = [*seen[:half], ("sevt_taken_back", True), *seen[half:]]
    assert {violation.rule for violation in check_seen(rows, taken_back)} == {"client-saw-only-the-log"}
    assert {violation.rule for violation in check_seen(rows, [*seen, seen[half]])} == {"client-saw-each-once-in-order"}
