"""The contract of the port `placements`, one function a promise, for every store."""

from __future__ import annotations

import asyncio

from outrider.testing.store_trial import Contract, Trial


async def the_first_place_wins(trial: Trial) -> None:
    placements = trial.store
    assert await placements.placement("sesn_1") is None
    assert await placements.place("sesn_1", "h1") == "h1"
    assert await placements.place("sesn_1", "h2") == "h1"
    assert await placements.placement("sesn_1") == "h1"


async def of_many_at_once_all_hear_of_the_same(trial: Trial) -> None:
    placements = trial.store
    found = await asyncio.gather(*(placements.place("sesn_1", f"h{number}") for number in range(20)))
    assert set(found) == {await placements.placement("sesn_1")}


async def a_session_moves_only_from_where_it_is(trial: Trial) -> None:
    placements = trial.store
    await placements.place("sesn_1", "h1")
    assert await placements.place("sesn_1", "h3", instead_of="h2") == "h1"
    assert await placements.place("sesn_1", "h2", instead_of="h1") == "h2"
    assert await placements.place("sesn_1", "h3", instead_of="h1") == "h2"


async def a_session_without_a_place_gets_one_even_when_it_should_have_moved(trial: Trial) -> None:
    placements = trial.store
    assert await placements.place("sesn_1", "h2", instead_of="h1") == "h2"


async def all_places_are_listed_until_they_are_forgotten(trial: Trial) -> None:
    placements = trial.store
    await placements.place("sesn_1", "h1")
    await placements.place("sesn_2", "h2")
    assert await placements.placements("", 9) == {"sesn_1": "h1", "sesn_2": "h2"}
    assert await placements.placements("", 1) == {"sesn_1": "h1"}
    assert await placements.placements("sesn_1", 9) == {"sesn_2": "h2"}
    assert await placements.places(["sesn_2", "sesn_3"]) == {"sesn_2": "h2"}
    await placements.unplace("sesn_1")
    await placements.unplace("sesn_3")
    assert await placements.placements("", 9) == await placements.places(["sesn_1", "sesn_2"]) == {"sesn_2": "h2"}
    assert await placements.place("sesn_1", "h3") == "h3"


PLACEMENT_CONTRACTS: tuple[Contract, ...] = (
    the_first_place_wins,
    of_many_at_once_all_hear_of_the_same,
    a_session_moves_only_from_where_it_is,
    a_session_without_a_place_gets_one_even_when_it_should_have_moved,
    all_places_are_listed_until_they_are_forgotten,
)
