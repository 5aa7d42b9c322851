"""Much of everything: long histories, readers who don't read, a thousand sends at once, more sessions than places."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM, Play
from live_server import Server, Stage, data_directory, serving
from sdk_clients import sdk_client
from session_talk import Talk, message

from outrider.clock import SystemClock
from outrider.ids import MonotonicIds
from outrider.models.scripted.script import Answer, Barrier, Request, ToolUse, Turn
from outrider.ports.access import ApiKey, Workspace
from outrider.store.sqlite import SqliteStore

BETA = {"anthropic-beta": "managed-agents-2026-04-01"}
MEGABYTE = 1024 * 1024
SENDS = 1000
FLOOD = 200
EACH = 100_000  # characters, the most that an agent's system prompt may have
DEAF = 10  # clients that read nothing of the flood
GROWTH = 40 * MEGABYTE  # of the server's memory, at most, while they leave five times as much unread


def ids_of(events: list[Any]) -> list[str]:
    return [event.id for event in events]


def messages(talk: Talk) -> list[str]:
    return [event.content[0].text for event in talk.history() if event.type == "user.message"]


@pytest.mark.timeout(120)
def test_a_session_with_ten_thousand_events_lists_streams_and_goes_on(play: Play) -> None:
    talk = play(Turn("Still here."), Turn("And still."))
    talk.say("first")
    talk.wait()
    for _ in range(200):
        talk.send(*[{"type": "user.interrupt"}] * 50)
    history = talk.history()
    assert len(history) > 10_000
    assert len(set(ids_of(history))) == len(history)
    assert ids_of(talk.history(order="desc", limit=999)) == ids_of(history)[::-1]
    found = talk.history(types=["agent.message"], limit=1)
    assert [event.content[0].text for event in found] == ["Still here."]
    with talk.stream() as reader:
        talk.say("second")
        reader.idle("end_turn")
        talk.wait()
    before = set(ids_of(history))
    streamed = [event.id for event in reader.events if event.processed_at is not None and event.id not in before]
    assert ids_of(talk.history())[-len(streamed) :] == streamed
    assert [event.content[0].text for event in reader.events if event.type == "agent.message"] == ["And still."]


@pytest.mark.timeout(120)
def test_a_thousand_queued_messages_are_taken_up_in_order_by_one_turn(
    play: Play, stage: Stage, model_name: str
) -> None:
    barrier = f"queue-{model_name}"
    talk = play(Turn("One.", first_byte=Barrier(barrier)), Turn("All."))
    talk.say("first")
    stage.arrived(barrier)
    texts = [f"message {number}" for number in range(SENDS)]
    for start in range(0, SENDS, 50):
        talk.send(*[message(text) for text in texts[start : start + 50]])
    assert talk.status() == "running"
    stage.release(barrier)
    talk.wait(seconds=60)
    assert messages(talk) == ["first", *texts]
    asked = stage.requests(model_name)
    assert len(asked) == 2
    said = [block["text"] for turn in asked[1]["messages"] if turn["role"] == "user" for block in turn["content"]]
    assert said == ["first", *texts]


class Deaf:
    """A client that opens a stream on a small buffer and reads nothing until it is told to."""

    def __init__(self, server: Server, session: str) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(60)
        self._socket.connect((host, int(port)))
        lines = [f"GET /v1/sessions/{session}/events/stream HTTP/1.1", f"host: {host}:{port}"]
        lines += [f"{name}: {value}" for name, value in (BETA | {"authorization": f"Bearer {server.key}"}).items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._received = self._socket.recv(12, socket.MSG_WAITALL)
        assert self._received == b"HTTP/1.1 200"

    def until(self, last: bytes) -> bytes:
        """Read, at last, up to these bytes."""
        pieces = [self._received]
        while last not in b"".join(pieces[-3:]):
            piece = self._socket.recv(MEGABYTE)
            assert piece, "the stream ended"
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        self._socket.close()


def resident(pid: int) -> int:
    """Bytes of memory that the process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def flood(talk: Talk, first: int, count: int) -> None:
    """Updates of the session; each is an event of about 100 KB."""
    for number in range(first, first + count):
        tools: Any = [CUSTOM | {"description": f"flood {number};"}]
        talk.client.beta.sessions.update(talk.id, agent={"tools": tools})


def numbers(text: str) -> list[int]:
    """Numbers of the updates in a text, in order."""
    return [int(piece.partition(";")[0]) for piece in text.split("flood ")[1:]]


def numbers_of(event: Any) -> list[int]:
    return numbers("".join(tool.description for tool in event.agent.tools))


@pytest.mark.timeout(180)
def test_a_client_that_never_reads_costs_no_memory_and_hinders_nobody(play: Play, server: Server) -> None:
    opened = play(Turn("Never."), agent={"system": "s" * EACH})
    talk = Talk(server.client(), opened.id)  # without the strict reading, which takes longer than the server does
    flood(talk, 0, FLOOD)
    pid = server.pids()["server"]
    before = resident(pid)
    with contextlib.ExitStack() as closing:
        deaf = [closing.enter_context(contextlib.closing(Deaf(server, talk.id))) for _ in range(DEAF)]
        reader = closing.enter_context(talk.stream())
        flood(talk, FLOOD, FLOOD)
        reader.until(lambda event: numbers_of(event) == [2 * FLOOD - 1])
        grown = resident(pid) - before
        late = deaf[0].until(f"flood {2 * FLOOD - 1};".encode()).decode()
    talk.client.close()
    assert [numbers_of(event) for event in reader.events] == [[number] for number in range(FLOOD, 2 * FLOOD)]
    assert len(set(ids_of(reader.events))) == FLOOD
    assert numbers(late) == list(range(FLOOD, 2 * FLOOD))
    unread = DEAF * FLOOD * EACH
    assert grown < GROWTH < unread / 4, f"{grown // MEGABYTE} MB more for {unread // MEGABYTE} MB unread"


@contextlib.contextmanager
def open_files(wanted: int) -> Generator[None]:
    """Let this process, and what it starts, have so many files and sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def send_at_once(server: Server, targets: list[str]) -> list[httpx2.Response]:
    """One message to each target, each on a connection of its own, none waiting for another."""
    headers = BETA | {"authorization": f"Bearer {server.key}"}
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60, limits=limits) as client:

        async def send(number: int, session: str) -> httpx2.Response:
            return await client.post(f"/v1/sessions/{session}/events", json={"events": [message(f"message {number}")]})

        return await asyncio.gather(*(send(number, session) for number, session in enumerate(targets)))


@pytest.mark.timeout(120)
def test_a_thousand_sends_at_once_to_one_session_are_all_taken(
    play: Play, server: Server, stage: Stage, model_name: str
) -> None:
    talk = play(Turn("Never."))
    stage.put(model_name, decide=lambda _request: Turn("Yes."))
    with talk.stream() as reader, open_files(2 * SENDS):
        answers = asyncio.run(send_at_once(server, [talk.id] * SENDS))
        assert {answer.status_code for answer in answers} == {200}
        talk.wait(seconds=60)
        history = talk.history()
        reader.until(lambda event: event.id == history[-1].id, seconds=40)
    assert set(ids_of(reader.events)) == set(ids_of(history))
    given = [answer.json()["data"][0]["id"] for answer in answers]
    stored = [event.id for event in history if event.type == "user.message"]
    assert sorted(stored) == sorted(given)
    assert sorted(messages(talk)) == sorted(f"message {number}" for number in range(SENDS))
    assert all(event.processed_at for event in history)
    assert history[-1].type == "session.status_idle"


@pytest.mark.timeout(120)
def test_sends_at_once_to_many_sessions_are_all_answered(
    client: Anthropic, server: Server, stage: Stage, model_name: str
) -> None:
    stage.put(model_name, decide=lambda request: Turn(request.last_text()))
    agent = client.beta.agents.create(name="many", model=model_name)
    environment = client.beta.environments.create(name="many")
    opened = [client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id for _ in range(100)]
    answers = asyncio.run(send_at_once(server, opened))
    assert {answer.status_code for answer in answers} == {200}
    for number, session in enumerate(opened):
        talk = Talk(client, session)
        talk.wait(seconds=40)
        assert [e.content[0].text for e in talk.history(types=["agent.message"])] == [f"message {number}"]


@pytest.mark.timeout(120)
def test_a_server_started_in_a_shell_that_allows_few_files_takes_more_connections_than_that(stage: Stage) -> None:
    with data_directory() as data, contextlib.ExitStack() as running:
        with open_files(256):
            server = running.enter_context(serving(data, {"OUTRIDER_MODEL_URL": stage.url}))
        client = server.client()
        model = stage.put("few-files", decide=lambda _request: Turn("Yes."))
        agent = client.beta.agents.create(name="few", model=model)
        environment = client.beta.environments.create(name="few")
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        with open_files(2 * SENDS):
            answers = asyncio.run(send_at_once(server, [session.id] * (SENDS // 2)))
        assert {answer.status_code for answer in answers} == {200}


# -- more sessions than places

NARROW = "[limits]\nrunning_sessions = 2\nheartbeat = 1.0\n"


class Waiters:
    """A model that holds every session until the test lets it go, and knows who came when."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self.name = stage.put(name, decide=self._decide)
        self.came: list[str] = []
        self.most = 0
        self._inside: set[str] = set()
        self._changed = threading.Condition()

    def _decide(self, request: Request) -> Answer:
        with self._changed:
            self.came.append(request.last_text())
            self._inside.add(request.last_text())
            self.most = max(self.most, len(self._inside))
            self._changed.notify_all()
        return Turn("Done.", first_byte=Barrier(f"{self.name}-{request.last_text()}"))

    def wait(self, count: int) -> None:
        """Until so many came in all."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.came) >= count, 40), self.came

    def let_go(self, who: str) -> None:
        with self._changed:
            self._inside.discard(who)
        self._stage.release(f"{self.name}-{who}")


@pytest.fixture
def narrow(stage: Stage) -> Generator[Server]:
    with data_directory() as data, serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=NARROW) as server:
        yield server


def second_workspace(server: Server) -> Anthropic:
    """A client with a key of another workspace, put into the running server's store."""
    ids = MonotonicIds()
    secret = f"outr_{ids.new('key')}"

    async def put() -> None:
        async with await SqliteStore.open(server.data / "outrider.db") as store:
            digest = hashlib.sha256(secret.encode()).hexdigest()
            where, now = ids.new("wrkspc"), SystemClock().now()
            await store.add_workspace(Workspace(where, where, now))
            await store.add_key(ApiKey(ids.new("apikey"), where, digest, "test", "admin", now))

    asyncio.run(put())
    return sdk_client(server.url, secret)


def talks(client: Anthropic, model: str, count: int) -> list[Talk]:
    agent = client.beta.agents.create(name="waits", model=model)
    environment = client.beta.environments.create(name="waits")
    create = client.beta.sessions.create
    return [Talk(client, create(agent=agent.id, environment_id=environment.id).id) for _ in range(count)]


def test_sessions_beyond_the_limit_wait_and_each_workspace_has_its_turn(
    narrow: Server, stage: Stage, model_name: str
) -> None:
    model = Waiters(stage, model_name)
    with narrow.client() as first, second_workspace(narrow) as second:
        busy, small = talks(first, model.name, 6), talks(second, model.name, 1)
        for number, talk in enumerate(busy):
            talk.say(f"busy {number}")
        model.wait(2)
        small[0].say("small")
        assert {talk.status() for talk in [*busy, *small]} == {"running"}
        model.let_go(model.came[0])
        model.wait(3)
        assert model.came[2] == "small"
        for place in range(1, 7):
            model.wait(min(place + 2, 7))  # whoever got the last place, so that one at a time comes to the next
            model.let_go(model.came[place])
        for talk in [*busy, *small]:
            talk.wait()
    assert sorted(model.came[:2]) == ["busy 0", "busy 1"]
    assert model.came[3:] == ["busy 2", "busy 3", "busy 4", "busy 5"]
    assert model.most == 2


def test_a_session_that_waits_for_an_answer_holds_no_place(narrow: Server, stage: Stage, model_name: str) -> None:
    asks = stage.put(f"{model_name}-asks", Turn(ToolUse("lookup", {"key": "k"})), Turn("Thanks."))
    model = Waiters(stage, model_name)
    with narrow.client() as client:
        custom: Any = CUSTOM
        environment = client.beta.environments.create(name="waits")
        agent = client.beta.agents.create(name="asks", model=asks, tools=[custom])
        waiting = [client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id for _ in range(3)]
        for session in waiting:
            Talk(client, session).say("ask me")
            Talk(client, session).wait()
        (talk,) = talks(client, model.name, 1)
        talk.say("through")
        model.wait(1)
        model.let_go("through")
        talk.wait()
