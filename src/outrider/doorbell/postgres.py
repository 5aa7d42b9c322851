"""Wakes and heads by PostgreSQL's notifications, which the store sends with its commits; this listens, on a connection
of its own. Previews do not travel: they would share the lock that every notifying commit takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, cast
from urllib.parse import urlsplit

import asyncpg
import msgspec

from outrider.doorbell.local import LocalDoorbell
from outrider.doorbell.outage import Outage
from outrider.ports.doorbell import Listener, Preview
from outrider.ports.log import SessionKey

HEADS, WAKES, DELETED = "outrider_heads", "outrider_wakes", "outrider_deleted"
CONNECT_SECONDS = 5.0
ASK_SECONDS = 3.0  # after so long a silence the server is asked whether it is there, and has as long to answer
WAITING_MOST = 256  # deletions kept while there is no connection
FAILURES = (
    OSError,
    TimeoutError,
    EOFError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver lost its place in the protocol
)

log = logging.getLogger("outrider.doorbell")


Hear = Callable[[object, int, str, str], None]


class _Link(Protocol):
    """What is used of a connection; the library has no types of its own."""

    def add_termination_listener(self, callback: Callable[[object], None]) -> None: ...

    async def add_listener(self, channel: str, callback: Hear) -> None: ...

    async def execute(self, query: str, *args: str, timeout: float) -> str: ...

    def is_closed(self) -> bool: ...

    def terminate(self) -> None: ...


class _Heads(msgspec.Struct):
    """What a commit says. No heads: too many to name."""

    sender: str = msgspec.field(name="from")
    heads: list[tuple[str, str, int]]


class _Deleted(msgspec.Struct):
    sender: str = msgspec.field(name="from")
    workspace: str
    session: str
    body: str


class PostgresExchange:
    """Implements the `Exchange` port. `sender` is the name under which this process's store notifies: its own words are
    not heard again. Whoever follows hears everything; the listener picks."""

    def __init__(self, url: str, sender: str) -> None:
        self._url = url
        self._sender = sender
        self.connected = False
        self._bell = LocalDoorbell()
        self._out: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MOST)
        self._outage = Outage(log, f"listening on {_shown(url)}", "sessions are found by looking, within 2 s")

    @asynccontextmanager
    async def opened(self, listener: Listener) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._keep_listening(listener))
        try:
            await self._outage.tried()
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def ring(self) -> None:
        """Other processes hear of it by the commit that made the session runnable."""
        self._bell.ring()

    def recheck(self) -> None:
        self._bell.recheck()

    async def wait(self, timeout: float, *, room: bool = True) -> None:
        await self._bell.wait(timeout, room=room)

    def follow(self, key: SessionKey) -> None:
        """All is heard: nothing to ask for."""

    def unfollow(self, key: SessionKey) -> None:
        """All is heard."""

    def head(self, key: SessionKey, seq: int) -> None:
        """The store has said so with the commit."""

    def preview(self, key: SessionKey, preview: Preview) -> None:
        """Not carried: see above."""

    def deleted(self, key: SessionKey, body: bytes) -> None:
        said = msgspec.json.encode(_Deleted(self._sender, key.workspace, key.session, body.decode()))
        with suppress(asyncio.QueueFull):  # found out by looking
            self._out.put_nowait(said)

    async def _keep_listening(self, listener: Listener) -> None:
        while True:
            try:
                await self._listen(listener)
                error: BaseException | str = "the connection was closed"
            except FAILURES as failure:
                error = failure
            await asyncio.sleep(self._outage.goes_on(error))

    async def _listen(self, listener: Listener) -> None:
        """Until the connection is lost."""
        link = await _open(self._url, timeout=CONNECT_SECONDS, statement_cache_size=0)
        try:
            link.add_termination_listener(self._stop_waiting)
            await link.add_listener(HEADS, _saying(lambda said: self._hear_heads(listener, said)))
            await link.add_listener(WAKES, _saying(self._hear_wake))
            await link.add_listener(DELETED, _saying(lambda said: self._hear_deleted(listener, said)))
            self._outage.ends()
            self.connected = True
            listener.look()
            self._bell.ring()
            while not link.is_closed():
                await self._speak(link)
        finally:
            self.connected = False
            link.terminate()

    async def _speak(self, link: _Link) -> None:
        """Send what there is to send; after a silence, ask whether the server is there."""
        said: bytes | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_SECONDS):
                said = await self._out.get()
        if said is not None:
            await link.execute("SELECT pg_notify($1, $2)", DELETED, said.decode(), timeout=ASK_SECONDS)
        elif not link.is_closed():
            await link.execute("SELECT 1", timeout=ASK_SECONDS)

    def _stop_waiting(self, _link: object) -> None:
        with suppress(asyncio.QueueFull):
            self._out.put_nowait(None)

    def _hear_heads(self, listener: Listener, said: str) -> None:
        with suppress(msgspec.DecodeError):  # somebody else's word
            news = msgspec.json.decode(said, type=_Heads)
            if news.sender == self._sender:
                return
            if not news.heads:
                listener.look()
            for workspace, session, seq in news.heads:
                listener.heard_head(SessionKey(workspace, session), seq)

    def _hear_wake(self, said: str) -> None:
        if said != self._sender:
            self._bell.ring()

    def _hear_deleted(self, listener: Listener, said: str) -> None:
        with suppress(msgspec.DecodeError):
            news = msgspec.json.decode(said, type=_Deleted)
            if news.sender != self._sender:
                listener.heard_deleted(SessionKey(news.workspace, news.session), news.body.encode())


_open = cast("Callable[..., Awaitable[_Link]]", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType]


def _saying(hear: Callable[[str], None]) -> Hear:
    return lambda _link, _pid, _channel, said: hear(said)


def _shown(url: str) -> str:
    """Where the database is, without user and password."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'local socket'}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "the database server"
