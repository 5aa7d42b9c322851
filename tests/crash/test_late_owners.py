"""Three servers share a database. One of them stands still in the middle of something, another one does it, and the
first goes on: what it does then changes nothing. (A process at a point stands still whole: it beats no more.)"""

from __future__ import annotations

import random
import threading
from collections.abc import Generator
from typing import Any

import pytest
from kill_matrix import LATE
from kill_stores import SEED
from live_server import KEY
from sdk_clients import sdk_client
from session_talk import Talk
from several_servers import DEADLINE, MODEL, YEARLY, Scene, opened, until
from turns import TOOLSET
from workers import environment_of, key_of, live_work

from conformance.requirements import requirement
from outrider.testing.postgres_server import PostgresServer

POINTS: list[str] = []
HELD = [f"{place}.before" for place in sorted(LATE)]
KILLED = ["run.fire.after", "api.take.before", "run.end.before"]
RUNS = [point for point in HELD if point.startswith("run.")]
DREAMS = [point for point in HELD if point.startswith("dream.")]
TODAY = random.Random(SEED)
"""Of the points of runs and of dreams, one each in a run of the tests."""


@pytest.fixture(scope="module")
def three(postgres: PostgresServer) -> Generator[Scene]:
    with opened(3, postgres.url(postgres.database())) as scene:
        yield scene


@requirement("deployments:schedule:fires")
@pytest.mark.timeout(180)
def test_a_time_fires_once_though_three_look_at_it_and_one_is_killed(three: Scene) -> None:
    three.fire_and_kill(KILLED)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("archived", [False, True])
def test_a_process_that_wakes_late_changes_nothing_of_a_run(three: Scene, archived: bool) -> None:
    """Frozen before it makes the session, it finds that others made it, or that the run has failed for good."""
    place = three.client().beta.environments.create(name="other").id
    deployment = three.deploy(schedule=YEARLY, environment_id=place)
    three.stops.want("api.take.before")
    three.come_due(deployment)
    stop = three.held("api.take.before")
    client = three.client(three.other_than(stop))
    if archived:
        client.beta.environments.archive(place)
    three.stops.run()
    (run,) = until(lambda: list(client.beta.deployment_runs.list(deployment_id=deployment)), "others end the run")
    three.stops.let_on(stop, "run.end.after")
    assert client.beta.deployment_runs.retrieve(run.id) == run
    made = [one.id for one in client.beta.sessions.list(deployment_id=deployment)]
    made += [one.id for one in client.beta.sessions.list(agent_id=three.agent) if one.deployment_id == deployment]
    assert set(made) == (set() if archived else {run.session_id})
    assert (run.error.type if run.error else None) == ("environment_archived_error" if archived else None)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", [TODAY.choice(RUNS)])
def test_a_step_of_a_run_that_is_late_is_no_second_one(three: Scene, point: str) -> None:
    deployment = three.deploy(schedule=YEARLY)
    three.stops.want(point)
    three.come_due(deployment)
    stop = three.held(point)
    client = three.client(three.other_than(stop))
    (run,) = until(lambda: list(client.beta.deployment_runs.list(deployment_id=deployment)), "others end the run")
    three.stops.let_on(stop, point.replace(".before", ".after"))
    assert list(client.beta.deployment_runs.list(deployment_id=deployment)) == [run]
    three.check_one_session(deployment)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", [TODAY.choice(DREAMS)])
def test_a_step_of_a_dream_that_is_late_is_no_second_one(three: Scene, point: str) -> None:
    client = three.client()
    past = client.beta.sessions.create(agent=three.agent, environment_id=three.environment).id
    store = client.beta.memory_stores.create(name="Notes").id
    client.beta.memory_stores.memories.create(store, path="/a.md", content="a")
    stores = len(list(client.beta.memory_stores.list()))
    inputs: Any = [{"type": "memory_store", "memory_store_id": store}, {"type": "sessions", "session_ids": [past]}]
    three.stops.want(point)
    dream = client.beta.dreams.create(inputs=inputs, model=MODEL).id
    stop = three.held(point)
    dreams = three.client(three.other_than(stop)).beta.dreams

    def ended() -> Any:
        found = dreams.retrieve(dream)
        return found if found.ended_at is not None else None

    done = until(ended, "others end the dream")
    assert done.status == "completed"
    three.stops.let_on(stop, point.replace(".before", ".after"))
    client = three.client()
    assert client.beta.dreams.retrieve(dream) == done
    assert len(list(client.beta.memory_stores.list())) == stores + 1
    sessions = [one.id for one in client.beta.sessions.list(include_archived=True)]
    assert sessions.index(done.session_id) == 0, "nothing was made after it"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["work.claim.before"])
def test_a_poll_that_wakes_late_is_given_nothing_that_another_one_has(three: Scene, point: str) -> None:
    client = three.client()
    environment = environment_of(client)
    key = key_of(client, environment)
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="work", model=MODEL, tools=tools).id
    talk = Talk(client, client.beta.sessions.create(agent=agent, environment_id=environment).id)
    talk.say("go")
    talk.wait()
    (item,) = live_work(client, environment)
    given: list[Any] = []
    late = sdk_client(three.servers[0].until_up(), key, max_retries=0).beta.environments.work
    three.stops.want(point)
    polling = threading.Thread(target=lambda: given.append(late.poll(environment)))
    polling.start()
    stop = three.held(point)
    work = sdk_client(three.servers[three.other_than(stop)].until_up(), key).beta.environments.work
    taken = work.poll(environment)
    assert taken is not None
    assert taken.id == item.id
    work.ack(item.id, environment_id=environment)
    three.stops.run()
    stop.go()
    polling.join(DEADLINE)
    assert given == [None]
    (still,) = live_work(sdk_client(three.servers[1].until_up(), KEY), environment)
    assert (still.id, still.state) == (item.id, "starting")
