"""Wakes by a JetStream work queue, live tails and previews by core subjects of NATS: one subject a session, subscribed
only while somebody here reads or drives it. All of it may get lost; owns its own reconnecting."""

# pyright: reportUnknownMemberType=false
# The library leaves some of its parameters without types.
from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from outrider.doorbell.ending import ended
from outrider.doorbell.local import LocalDoorbell
from outrider.doorbell.nats_wakes import WakeQueue
from outrider.doorbell.outage import Outage
from outrider.ports.doorbell import Listener, Preview
from outrider.ports.log import SessionKey

CONNECT_SECONDS = 2
PING_SECONDS = 2
PINGS_MISSED = 2
FLUSH_SECONDS = 2
CLOSE_SECONDS = 2.0
OUT_MOST = 10_000  # messages that wait for a slow server; more are lost, as the port allows
FAILURES = (OSError, TimeoutError, nats.errors.Error)

log = logging.getLogger("outrider.doorbell")


class _Head(msgspec.Struct, tag="h", array_like=True):
    seq: int


class _Preview(msgspec.Struct, tag="p", array_like=True):
    thread: str
    event_id: str
    kind: str
    number: int
    after: int
    frame: bytes


class _Deleted(msgspec.Struct, tag="d", array_like=True):
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], _Head | _Preview | _Deleted] = msgspec.msgpack.Decoder(_Head | _Preview | _Deleted).decode
Send = Callable[[Client], Awaitable[None]]


class NatsExchange:
    """Implements the `Exchange` port. Deployments that share a NATS server need a `prefix` each."""

    def __init__(self, url: str, *, prefix: str = "outrider") -> None:
        self._url = url
        self._prefix = prefix
        self._bell = LocalDoorbell()
        self._wakes = WakeQueue(prefix, self._bell.ring)
        self._followed: set[SessionKey] = set()
        self._subscriptions: dict[SessionKey, Subscription] = {}
        self._out: deque[Send] = deque()
        self._more = asyncio.Event()
        self._ringing = False
        self.connected = False
        self._outage = Outage(log, f"NATS at {_shown(url)}", "sessions are found by looking, within 2 s")

    @asynccontextmanager
    async def opened(self, listener: Listener) -> AsyncGenerator[None]:
        task = asyncio.create_task(self._stay_connected(listener))
        try:
            await self._outage.tried()
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    # -- wakes

    def ring(self) -> None:
        self._bell.ring()
        if self.connected and not self._ringing:
            self._ringing = True
            self._send(self._ring)

    async def _ring(self, client: Client) -> None:
        """One message for all the rings since the last: whoever hears it claims what it has room for."""
        self._ringing = False
        await self._wakes.ring(client)

    def recheck(self) -> None:
        self._bell.recheck()

    async def wait(self, timeout: float, *, room: bool = True) -> None:
        for acknowledge in self._wakes.served():
            self._send(acknowledge)
        self._wakes.wanted(room)
        await self._bell.wait(timeout, room=room)
        self._wakes.heard()

    # -- live tails

    def follow(self, key: SessionKey) -> None:
        self._followed.add(key)
        self._more.set()

    def unfollow(self, key: SessionKey) -> None:
        self._followed.discard(key)
        self._more.set()

    def head(self, key: SessionKey, seq: int) -> None:
        self._say(key, _Head(seq))

    def preview(self, key: SessionKey, preview: Preview) -> None:
        self._say(
            key,
            _Preview(preview.thread, preview.event_id, preview.kind, preview.number, preview.after, preview.frame),
        )

    def deleted(self, key: SessionKey, body: bytes) -> None:
        self._say(key, _Deleted(body))

    def _subject(self, key: SessionKey) -> str:
        return f"{self._prefix}.live.{key.workspace}.{key.session}"

    def _say(self, key: SessionKey, said: _Head | _Preview | _Deleted) -> None:
        if self.connected:
            subject, payload = self._subject(key), _encode(said)
            self._send(lambda client: client.publish(subject, payload))

    def _send(self, send: Send) -> None:
        """In order with all else. What can't be sent now is not worth sending later."""
        if self.connected and len(self._out) < OUT_MOST:
            self._out.append(send)
            self._more.set()

    # -- the connection

    async def _stay_connected(self, listener: Listener) -> None:
        while True:
            try:
                await self._serve(listener)
                error: BaseException | str = "the connection was closed"
            except FAILURES as failure:
                error = failure
            await asyncio.sleep(self._outage.goes_on(error))

    async def _serve(self, listener: Listener) -> None:
        """Until the connection is lost."""
        lost = asyncio.Event()
        client = await self._connect(lost)
        tasks: list[asyncio.Task[Any]] = []
        try:
            self._out.clear()
            self._ringing = False
            self.connected = True
            self._outage.ends()
            self._more.set()
            listener.look()
            self._bell.ring()
            loops = (self._send_loop(client, listener), self._wakes.pull(client), lost.wait())
            tasks = [asyncio.create_task(loop) for loop in loops]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.connected = False
            self._subscriptions.clear()
            await ended(tasks)
            with suppress(*FAILURES):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await client.close()

    async def _connect(self, lost: asyncio.Event) -> Client:
        """No reconnecting by the client: after a loss all is set up anew here, and the log looked at."""

        async def closed() -> None:
            lost.set()

        async def quiet(_: Exception) -> None:
            """Errors of a message or of a try; a lost connection is told by `closed`."""

        options: dict[str, Any] = {"tls": ssl.create_default_context()} if "tls://" in self._url else {}
        async with asyncio.timeout(2 * CONNECT_SECONDS):
            return await nats.connect(
                self._url.split(","),
                name="outrider",
                no_echo=True,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=CONNECT_SECONDS,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=PINGS_MISSED,
                error_cb=quiet,
                closed_cb=closed,
                **options,
            )

    async def _send_loop(self, client: Client, listener: Listener) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            await self._subscribe(client, listener)
            while self._out:
                await self._out.popleft()(client)

    async def _subscribe(self, client: Client, listener: Listener) -> None:
        """Make the subscriptions what they should be. What came before one stood is found by looking."""
        for key in self._subscriptions.keys() - self._followed:
            await self._subscriptions.pop(key).unsubscribe()
        fresh = self._followed - self._subscriptions.keys()
        for key in fresh:
            self._subscriptions[key] = await client.subscribe(self._subject(key), cb=self._hearing(key, listener))
        if fresh:
            await client.flush(FLUSH_SECONDS)
            listener.look(fresh)

    def _hearing(self, key: SessionKey, listener: Listener) -> Callable[[Msg], Awaitable[None]]:
        async def hear(message: Msg) -> None:
            with suppress(msgspec.DecodeError):  # somebody else's word
                match _decode(message.data):
                    case _Head(seq):
                        listener.heard_head(key, seq)
                    case _Preview(thread, event_id, kind, number, after, frame):
                        listener.heard_preview(key, Preview(thread, event_id, kind, number, after, frame))
                    case _Deleted(body):
                        listener.heard_deleted(key, body)

        return hear


def _shown(url: str) -> str:
    """Where the servers are, without user and password."""
    places = [urlsplit(one) for one in url.split(",")]
    return ", ".join(f"{place.hostname}:{place.port or 4222}" for place in places)
