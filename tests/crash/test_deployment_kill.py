"""A deployment's time comes, and the process that fires it is killed at each step: one run and one session, whoever
goes on. With three processes that look at the same schedules: `test_late_owners`."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest
from kill_matrix import RUNS
from kill_stores import Database
from several_servers import DEADLINE, Scene, opened

from conformance.requirements import requirement

FIRING = ["run.fire.before", "run.fire.after", "api.take.before", "run.end.before", "run.end.after"]
POINTS = sorted(f"{place}.{when}" for place in RUNS for when in ("before", "after"))
ASKING = ["run.add.before", "run.add.after", "run.end.after"]


@pytest.fixture(scope="module")
def alone(database: Database) -> Generator[Scene]:
    with opened(1, database.url or None) as scene:
        yield scene


@pytest.mark.timeout(180)
def test_a_time_fires_once_whoever_is_killed_at_whatever_step(alone: Scene) -> None:
    alone.fire_and_kill(FIRING)


@requirement("deployments:run:retry")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ASKING)
def test_a_manual_run_that_is_asked_for_again_after_a_death_is_one_run(alone: Scene, point: str) -> None:
    deployment = alone.deploy()
    answers: list[Any] = []
    client = alone.client()
    asking = threading.Thread(target=lambda: answers.append(client.beta.deployments.run(deployment)))
    alone.stops.want(point)
    asking.start()
    alone.killed(alone.held(point))
    asking.join(DEADLINE)
    alone.check_one_session(deployment)
    assert [one.id for one in answers] == [run.id for run in alone.runs(deployment)]


def test_the_points_that_are_killed_here_are_all_of_runs() -> None:
    killed = {*FIRING, *ASKING}
    assert set(POINTS) <= killed
