"""A sample of the kill matrix, other cells on other days; and that nothing is left out of the whole."""

from __future__ import annotations

import ast
from collections.abc import Generator, Iterable
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest
from kill_matrix import KILLED_IN, Cell, Kills, cells, run, sample
from kill_stores import SEED, store_of
from matrix_scene import STORES, Scene, scene_on

import outrider
from outrider import faults

KILLED, FROZEN = "SIGKILL", "SIGSTOP"
SHARED = ("postgres", "postgres+nats")
PAIR = SHARED[SEED % 2]
"""The shared store that has two servers today."""

SOURCE = Path(outrider.__file__).parent


def points_in_code() -> set[str]:
    """The names at every call of `point(...)`, which have to be written out to be found."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "point":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno} hides its name"
                found.add(str(name.value))
    return found


def test_the_points_listed_in_code_and_tried_are_the_same() -> None:
    assert points_in_code() == faults.POINTS
    for store, signal in product(STORES, (KILLED, FROZEN)):
        known = {cell.point for cell in cells(store) if cell.signal == signal}
        assert known | points_of(KILLED_IN.values()) == faults.POINTS
        here = [kills for kills in KILLED_IN.values() if store in kills.stores]
        assert known | points_of(here) == faults.POINTS or signal == FROZEN or store == "postgres+nats"


def points_of(kills: Iterable[Kills]) -> set[str]:
    return {f"{place}.{when}" for one in kills for place in one.places for when in ("before", "after")}


@pytest.mark.parametrize("test", KILLED_IN)
def test_what_is_killed_elsewhere_is_killed_there_on_each_of_its_stores(test: str) -> None:
    module, kills = import_module(test.removesuffix(".py")), KILLED_IN[test]
    assert set(module.POINTS) == points_of([kills]) or not kills.places
    assert set(getattr(module, "HELD", ())) == {f"{place}.before" for place in kills.held}
    assert {store_of(test, seed) for seed in range(4)} == set(kills.stores)
    asked = "database: Database" if len(kills.stores) > 1 else "postgres: PostgresServer"
    assert asked in (Path(__file__).parent / test).read_text()


def test_a_sample_holds_no_point_twice_and_changes_with_its_seed() -> None:
    first = sample("sqlite", "SIGKILL", 12, 1)
    assert len({cell.point for cell in first}) == 12
    assert first == sample("sqlite", "SIGKILL", 12, 1) != sample("sqlite", "SIGKILL", 12, 2)
    assert all(cell.taken_over for cell in sample("postgres", "SIGSTOP", 4, 1))


def tried(store: str) -> list[Cell]:
    """Both signals, on three stores together, in less than a minute."""
    if store == "sqlite":
        return sample(store, KILLED, 5, SEED) + sample(store, FROZEN, 2, SEED)
    return sample(store, KILLED, 2, SEED) + sample(store, FROZEN, 1 if store == PAIR else 0, SEED)


@pytest.fixture(scope="module", params=STORES)
def scene(request: pytest.FixtureRequest) -> Generator[Scene]:
    with scene_on(request.param, pair=request.param == PAIR) as scene:
        yield scene


@pytest.mark.timeout(240)
def test_whoever_is_killed_or_frozen_at_a_sample_of_points_nothing_is_lost_or_done_twice(scene: Scene) -> None:
    for cell in tried(scene.store):
        outcome = run(scene, cell)
        assert outcome.reached, f"nobody came to {cell} (OUTRIDER_TEST_SEED={SEED})"
        assert outcome.violations == [], f"{cell} (OUTRIDER_TEST_SEED={SEED})"
