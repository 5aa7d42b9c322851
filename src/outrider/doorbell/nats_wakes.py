"""Wakes as a JetStream work queue: one harness hears a ring, and acknowledges it once it has claimed. The stream is
small and in the server's memory: a ring that is lost with it is made up for by the next sweep."""

# pyright: reportUnknownMemberType=false
# The library leaves some of its parameters without types.
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from outrider.doorbell.outage import Outage

KEEP_SECONDS = 60.0
KEEP_MOST = 10_000
KEEP_BYTES = 1024 * 1024
ACK_SECONDS = 10.0  # a harness that died before it claimed: the ring goes to another
FETCH_SECONDS = 5.0
API_SECONDS = 3.0
CONSUMER = "harness"
WRONG_STREAM = 10058  # the stream is there with another configuration

log = logging.getLogger("outrider.doorbell")


class WakeQueue:
    """The rings of one process: `ring` sends one, `pull` takes them while they are `wanted`, and tells `rung`."""

    def __init__(self, prefix: str, rung: Callable[[], None]) -> None:
        self._subject = f"{prefix}.wake"
        self._stream = f"{prefix}_wakes".replace(".", "_")
        self._rung = rung
        self._hungry = asyncio.Event()
        self._fetched: list[Msg] = []
        self._claiming: list[Msg] = []
        self._outage = Outage(log, "the wake queue on NATS", "sessions are found by looking, within 2 s")

    async def ring(self, client: Client) -> None:
        await client.publish(self._subject)

    def wanted(self, room: bool) -> None:
        """The process waits, and has room or none."""
        if room:
            self._hungry.set()
        else:
            self._hungry.clear()

    def heard(self) -> None:
        """The process goes to claim: what has been fetched so far is served by that."""
        self._claiming += self._fetched
        self._fetched = []

    def served(self) -> list[Callable[[Client], Awaitable[None]]]:
        """It has claimed: how to say so."""
        messages, self._claiming = self._claiming, []
        return [_acknowledging(message) for message in messages]

    async def pull(self, client: Client) -> None:
        """As long as the connection lasts; without JetStream rings are left to sweeps."""
        self._fetched, self._claiming = [], []
        js = client.jetstream(timeout=API_SECONDS)
        while True:
            try:
                queue = await self._prepare(js)
                self._outage.ends()
                while True:
                    await self._take(queue)
            except (nats.errors.Error, TimeoutError) as error:
                if client.is_closed:
                    return
                await asyncio.sleep(self._outage.goes_on(error))

    async def _prepare(self, js: JetStreamContext) -> JetStreamContext.PullSubscription:
        stream = StreamConfig(
            name=self._stream,
            subjects=[self._subject],
            retention=RetentionPolicy.WORK_QUEUE,
            discard=DiscardPolicy.OLD,
            storage=StorageType.MEMORY,
            max_age=KEEP_SECONDS,
            max_msgs=KEEP_MOST,
            max_bytes=KEEP_BYTES,
        )
        try:
            await js.add_stream(stream)
        except nats.js.errors.APIError as error:
            if error.err_code != WRONG_STREAM:
                raise
            await js.update_stream(stream)
        consumer = ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_SECONDS)
        await js.add_consumer(self._stream, consumer)
        return await js.pull_subscribe_bind(consumer=CONSUMER, stream=self._stream)

    async def _take(self, queue: JetStreamContext.PullSubscription) -> None:
        await self._hungry.wait()
        try:
            messages = await queue.fetch(1, timeout=FETCH_SECONDS)
        except TimeoutError:
            return
        if not self._hungry.is_set():  # no room any more: somebody else may have some
            for message in messages:
                await message.nak()
            return
        self._fetched += messages
        self._hungry.clear()  # until the next wait
        self._rung()


def _acknowledging(message: Msg) -> Callable[[Client], Awaitable[None]]:
    async def acknowledge(_: Client) -> None:
        await message.ack()

    return acknowledge
