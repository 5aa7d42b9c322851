"""A drill's clients: the unmodified SDK, patient with servers that die, and strict with what they acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anthropic
from anthropic import AsyncAnthropic

from outrider.testing.drill import job

T = TypeVar("T")
REQUEST_SECONDS = 10.0
PATIENCE = 120.0
PAUSE = 0.25
LOOK = 0.5
_PASSING = (408, 409, 429)


class Impatient(Exception):
    """A request was not answered, or a turn not ended, within `PATIENCE`, whatever was tried."""


class Clients:
    """Requests go to the API servers in turn; one that fails in passing goes to the next, as the same request. Each has
    `seconds` for its answer."""

    def __init__(self, urls: Sequence[str], key: str, *, seconds: float = REQUEST_SECONDS) -> None:
        self.seconds = seconds
        self._all = [AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=seconds) for url in urls]
        self._turn = itertools.cycle(self._all)
        self.retries = 0

    def next(self) -> AsyncAnthropic:
        return next(self._turn)

    async def surely(self, ask: Callable[[AsyncAnthropic, dict[str, str]], Awaitable[T]], what: str) -> T:
        """The answer, in the end. `ask` gets the headers that make its repetitions harmless."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await ask(self.next(), headers)
            except anthropic.APIConnectionError as error:
                last: anthropic.APIError = error
            except anthropic.APIStatusError as error:
                if error.status_code < 500 and error.status_code not in _PASSING:
                    raise
                last = error
            if time.monotonic() > deadline:
                raise Impatient(f"{what}: {last}")
            self.retries += 1
            await asyncio.sleep(PAUSE)

    async def close(self) -> None:
        for client in self._all:
            await client.close()


@dataclass(slots=True)
class Seen:
    """What one session's client knows: the events that were acknowledged to it, and the rounds that it began."""

    session: str
    acknowledged: list[str] = field(default_factory=list[str])
    rounds: int = 0
    trouble: str = ""


async def play(clients: Clients, agent: str, environment: str, until: float, begun: Callable[[str], None]) -> Seen:
    """One session: round after round until `until` (monotonic seconds), then its own count of what it did. `begun` is
    told its id."""
    session = await clients.surely(
        lambda one, headers: one.beta.sessions.create(agent=agent, environment_id=environment, extra_headers=headers),
        "session create",
    )
    seen = Seen(session.id)
    begun(session.id)
    try:
        while time.monotonic() < until:
            seen.rounds += 1
            await _say(clients, seen, job.said(seen.rounds))
            await _settled(clients, seen)
        await _say(clients, seen, job.COUNT)
        await _settled(clients, seen)
    except (Impatient, anthropic.APIError) as error:
        seen.trouble = f"{type(error).__name__}: {error}"
    return seen


async def _say(clients: Clients, seen: Seen, text: str) -> None:
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    answer = await clients.surely(
        lambda one, headers: one.beta.sessions.events.send(seen.session, events=[message], extra_headers=headers),
        f"message to {seen.session}",
    )
    seen.acknowledged += [event.id for event in answer.data or []]


async def _settled(clients: Clients, seen: Seen) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await clients.surely(
            lambda one, headers: one.beta.sessions.retrieve(seen.session), f"status of {seen.session}"
        )
        if found.status in ("idle", "terminated"):
            return
        if time.monotonic() > deadline:
            raise Impatient(f"session {seen.session} is still {found.status}")
        await asyncio.sleep(LOOK)


@dataclass(slots=True)
class Followed:
    """What a reader of a stream was told: the ids of stored events, and how often it had to connect again."""

    session: str
    ids: list[str] = field(default_factory=list[str])
    repeated: list[str] = field(default_factory=list[str])
    connections: int = 0


async def follow(clients: Clients, session: str, into: Followed, *, idle: asyncio.Event) -> None:
    """Read a session's events by the SDK's recipe: open the stream, list what there is, go on with the stream, leave
    out what was seen. Ends when `idle` is set and the history holds nothing new."""
    seen: set[str] = set()

    def take(event: Any) -> None:
        if getattr(event, "processed_at", None) is None or event.id in seen:
            return  # previews have no time; a message that waits comes again when it is taken up
        seen.add(event.id)
        into.ids.append(event.id)

    while True:
        one = clients.next()
        try:
            async with asyncio.timeout(clients.seconds):
                stream = await one.beta.sessions.events.stream(session)
            into.connections += 1
            async with stream:
                async for event in one.beta.sessions.events.list(session, limit=1000):
                    take(event)
                if idle.is_set():
                    return
                await _read(stream, take, idle)
        except (anthropic.APIError, TimeoutError, json.JSONDecodeError):
            await asyncio.sleep(PAUSE)


async def _read(stream: Any, take: Callable[[Any], None], idle: asyncio.Event) -> None:
    """Until the stream ends, or the drill does."""

    async def reading() -> None:
        async for event in stream:
            take(event)

    async def ending() -> None:
        await idle.wait()

    tasks = [asyncio.create_task(reading()), asyncio.create_task(ending())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
