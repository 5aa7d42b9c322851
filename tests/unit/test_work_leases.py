"""How a process sees that the holder of a work item is gone, by its own clock and by what others have noted."""

from __future__ import annotations

from dataclasses import replace

from outrider.api.leases import Leases
from outrider.clock import ManualClock
from outrider.ports.work import Held

PLACE = ("wrkspc_a", "env_1")
HELD = Held("work_1", 1, 3, "active", 100)


def seen_for(clock: ManualClock, leases: Leases, held: Held, seconds: int) -> None:
    """By a process that looks each second."""
    for _ in range(seconds):
        clock.advance(1)
        leases.look(PLACE, [held])


def test_an_item_lapses_when_it_stood_unchanged_for_its_whole_time() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.look(PLACE, [HELD])
    seen_for(clock, leases, HELD, 99)
    assert leases.lapsed(PLACE) == []
    seen_for(clock, leases, HELD, 1)
    assert leases.lapsed(PLACE) == [HELD]
    leases.look(PLACE, [replace(HELD, beats=4)])
    assert leases.lapsed(PLACE) == []


def test_an_item_grows_no_older_while_nobody_can_look_at_it() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.look(PLACE, [HELD])
    seen_for(clock, leases, HELD, 50)
    clock.advance(1000)
    assert leases.lapsed(PLACE) == []
    seen_for(clock, leases, HELD, 44)
    assert leases.lapsed(PLACE) == []
    seen_for(clock, leases, HELD, 6)
    assert leases.lapsed(PLACE) == [HELD]


def test_how_long_it_stood_is_noted_each_quarter_of_its_time() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.look(PLACE, [HELD])
    seen_for(clock, leases, HELD, 24)
    assert leases.to_note(PLACE) == []
    seen_for(clock, leases, HELD, 3)
    (noted,) = leases.to_note(PLACE)
    assert noted == replace(HELD, stood=27)
    leases.look(PLACE, [noted])
    assert leases.to_note(PLACE) == []


def test_a_process_that_has_just_started_goes_on_from_what_was_noted() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.look(PLACE, [replace(HELD, stood=75)])
    seen_for(clock, leases, HELD, 24)
    assert leases.lapsed(PLACE) == []
    seen_for(clock, leases, HELD, 1)
    assert leases.lapsed(PLACE) == [HELD]


def test_what_another_process_saw_for_longer_counts() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    leases.look(PLACE, [HELD])
    seen_for(clock, leases, HELD, 10)
    leases.look(PLACE, [replace(HELD, stood=50)])
    seen_for(clock, leases, HELD, 50)
    assert leases.lapsed(PLACE) == [HELD]


def test_places_at_which_nothing_is_held_any_more_are_forgotten() -> None:
    clock = ManualClock()
    leases = Leases(clock)
    assert leases.look_everywhere([(*PLACE, HELD), ("wrkspc_b", "env_2", HELD)]) == [PLACE, ("wrkspc_b", "env_2")]
    for _ in range(100):
        clock.advance(1)
        assert leases.look_everywhere([(*PLACE, HELD)]) == [PLACE]
    assert leases.lapsed(PLACE) == [HELD]
    assert leases.lapsed(("wrkspc_b", "env_2")) == []
