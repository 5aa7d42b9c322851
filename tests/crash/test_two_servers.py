"""Two real servers on one database: the client's takes on no session, so that the other one drives. What a client
sees is the same as on one server, also when NATS or the database's connections go away meanwhile."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from session_talk import Event, Reader, Talk

from conformance.requirements import requirement
from outrider.models.scripted.script import Barrier, Text, Turn
from outrider.testing.nats_server import NatsServer, nats_server
from outrider.testing.postgres_server import PostgresServer

CONFIG = "[limits]\nbackoff_first = 0.1\nbackoff_most = 0.5\nreplay_window = 0\nheartbeat = 0.5\n"
CLIENTS: list[Anthropic] = []
NO_SESSIONS = CONFIG + "running_sessions = 0\n"


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


@pytest.fixture(scope="module")
def nats() -> Generator[NatsServer]:
    with nats_server() as server:
        yield server


@dataclass
class Pair:
    """The server that clients speak to, and the one that drives; what holds them together."""

    api: Server
    harness: Server
    over: str


@contextmanager
def two_servers(stage: Stage, postgres: PostgresServer, nats: NatsServer | None) -> Generator[Pair]:
    shared = {"OUTRIDER_DATABASE_URL": postgres.url(postgres.database())}
    if nats is not None:
        shared["OUTRIDER_NATS_URL"] = nats.url
    environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests", **shared}
    with data_directory() as one, data_directory() as other:
        with serving(one, environment, config=NO_SESSIONS) as api:
            with serving(other, environment, config=CONFIG) as harness:
                yield Pair(api, harness, "nats" if nats else "postgres")


@pytest.fixture(scope="module", params=["postgres", "nats"])
def pair(request: pytest.FixtureRequest, stage: Stage, postgres: PostgresServer) -> Generator[Pair]:
    nats: NatsServer | None = request.getfixturevalue("nats") if request.param == "nats" else None
    with two_servers(stage, postgres, nats) as pair:
        yield pair


@pytest.fixture(autouse=True)
def clients_are_closed() -> Generator[None]:
    yield
    while CLIENTS:
        CLIENTS.pop().close()


def client_of(server: Server) -> Anthropic:
    CLIENTS.append(server.client(max_retries=8))
    return CLIENTS[-1]


def open_talk(server: Server, model: str) -> Talk:
    client = client_of(server)
    agent = client.beta.agents.create(name="apart", model=model)
    environment = client.beta.environments.create(name="apart")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)


def stored(events: list[Event]) -> list[str]:
    """Ids, each once, in order: an event that waited is shown again when it is taken up."""
    return list(dict.fromkeys(event.id for event in events if not event.type.startswith("event_")))


def texts(events: list[Any]) -> str:
    return "".join(event.delta.content.text for event in events if event.type == "event_delta")


def check_whole(reader: Reader, talk: Talk) -> None:
    assert set(stored(reader.events)) == {event.id for event in talk.history()}


@requirement("streaming:previews:any-server")
def test_a_session_driven_elsewhere_is_seen_whole_on_a_stream_here(stage: Stage, pair: Pair) -> None:
    words, name = [f"word{n} " for n in range(30)], f"apart-{pair.over}"
    talk = open_talk(pair.api, stage.put(name, Turn(Text(*words, Barrier(name), "end.")), Turn("Again.")))
    with talk.stream("agent.message") as reader:
        talk.say("go")
        stage.arrived(name)
        if pair.over == "nats":
            reader.until(lambda _: texts(reader.events) == "".join(words))
        stage.release(name)
        reader.idle("end_turn")
        talk.say("again")
        reader.idle("end_turn")
    check_whole(reader, talk)
    first = reader.events[: reader.types().index("agent.message")]
    assert texts(first).startswith("".join(words)) if pair.over == "nats" else texts(first) == ""


def test_an_interrupt_sent_here_stops_the_model_call_there(stage: Stage, pair: Pair) -> None:
    name = f"long-{pair.over}"
    talk = open_talk(pair.api, stage.put(name, Turn(Text("Half ", Barrier(name), "way."))))
    with talk.stream() as reader:
        talk.say("go")
        stage.arrived(name)
        talk.send({"type": "user.interrupt"})
        reader.idle("end_turn")  # the model itself would never end
    stage.release(name)


def test_a_deleted_session_ends_the_streams_of_other_servers(stage: Stage, pair: Pair) -> None:
    talk = open_talk(pair.api, stage.put("deleted", Turn("Never said.")))
    elsewhere = Talk(client_of(pair.harness), talk.id)
    with elsewhere.stream() as reader:
        talk.client.beta.sessions.delete(talk.id)
        reader.until("session.deleted")
        assert reader.ended.wait(20)


def test_killing_nats_in_a_turn_loses_nothing(stage: Stage, pair: Pair, request: pytest.FixtureRequest) -> None:
    if pair.over != "nats":
        pytest.skip("there is no NATS here")
    nats: NatsServer = request.getfixturevalue("nats")
    answers = (Turn(Text("Half ", Barrier("cut"), "way.")), Turn("Second."), Turn("Third."))
    talk = open_talk(pair.api, stage.put("cut", *answers))
    with talk.stream() as reader:
        talk.say("go")
        stage.arrived("cut")
        nats.kill()
        stage.release("cut")
        reader.idle("end_turn")
        talk.say("without NATS")
        reader.idle("end_turn")
        nats.start()
        talk.say("with it again")
        reader.idle("end_turn")
    check_whole(reader, talk)
    for server in (pair.api, pair.harness):
        assert server.log().count("is out of reach") <= 2  # the connection, the wake queue: once each
        assert nats.password not in server.log()


def test_listening_goes_on_after_the_database_was_restarted(stage: Stage, pair: Pair, postgres: PostgresServer) -> None:
    name = f"again-{pair.over}"
    talk = open_talk(pair.api, stage.put(name, Turn(Text("Half ", Barrier(name), "way.")), Turn("Second.")))
    with talk.stream() as reader:
        talk.say("go")
        stage.arrived(name)
        postgres.restart()
        stage.release(name)
        reader.idle("end_turn")
        talk.say("go on")
        reader.idle("end_turn")
    check_whole(reader, talk)
    comes_back(pair.harness, "nats" if pair.over == "nats" else "notifications")


def told_of(server: Server, part: str) -> str:
    """What /readyz says of it; the server is ready either way."""
    answer = httpx2.get(f"{server.url}/readyz", timeout=10)
    assert answer.status_code == 200
    found: str = answer.json()["checks"][part]
    return found


def comes_back(server: Server, part: str) -> None:
    deadline = time.monotonic() + 20
    while told_of(server, part) != "ok":
        assert time.monotonic() < deadline, f"{part} did not come back"
        time.sleep(0.05)


def test_servers_start_while_nats_is_away_and_a_client_may_turn_to_the_other_one(
    stage: Stage, postgres: PostgresServer, nats: NatsServer
) -> None:
    stage.put("late", Turn("First."), Turn(Text("Half ", Barrier("late"), "way.")))
    nats.stop()
    try:
        with two_servers(stage, postgres, nats) as pair:
            talk = open_talk(pair.api, "late")
            assert {told_of(server, "nats") for server in (pair.api, pair.harness)} == {"unavailable"}
            with talk.stream() as reader:
                talk.say("go")
                reader.idle("end_turn")
                nats.start()
                comes_back(pair.api, "nats")
                talk.say("go on")
                stage.arrived("late")
            elsewhere = Talk(client_of(pair.harness), talk.id)
            with elsewhere.stream() as other:
                pair.api.process.kill()
                stage.release("late")
                other.idle("end_turn")
    finally:
        nats.restart()
