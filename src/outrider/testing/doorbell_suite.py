"""The contract of the ports `Doorbell` and `Exchange`, one function a promise, with the live feed on both ends.

Promised is what users see: rows without gaps, in order and once, whatever the exchange loses, doubles or reorders;
previews without gaps inside one; rings that end a wait soon. Not covered: how fast.
"""

from __future__ import annotations

import asyncio
import itertools
import time

import msgspec

from outrider.testing.exchange_trial import KEY, ExchangeContract, ExchangeTrial, Process, Reader, reading, until
from outrider.testing.store_trial import event, record, waiting

EXCHANGE_CONTRACTS: list[ExchangeContract] = []
SOON = 1.5  # seconds in which what is carried arrives, where nothing is lost
LONG = 20.0


def contract(function: ExchangeContract) -> ExchangeContract:
    EXCHANGE_CONTRACTS.append(function)
    return function


async def write(process: Process, *names: str) -> None:
    await process.store.append_client(KEY, [event(name) for name in names], if_head=None, wake=False)


def preview(process: Process, event_id: str, text: str, *, start: bool = False) -> None:
    frame = msgspec.json.encode({"id": event_id, "text": f"+{text}"})
    process.feed.preview(KEY, "sthr_1", event_id, frame, kind="agent.message", start=start)


async def carried(there: Process, reader: Reader) -> None:
    """Until previews come through: those from before a new stream is known elsewhere are lost."""

    async def say() -> None:
        while True:
            preview(there, "first", "words", start=True)
            await asyncio.sleep(0.02)

    saying = asyncio.create_task(say())
    try:
        await reader.until("first+words")
    finally:
        saying.cancel()


@contract
async def a_row_written_elsewhere_reaches_a_reader(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there), reading(here) as reader:
        await write(there, "a")
        await write(there, "b", "c")
        assert await reader.until("c") == ["a", "b", "c"]


@contract
async def rows_of_two_writers_reach_the_readers_of_both_in_order_and_once(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there), reading(here) as mine, reading(there) as theirs:

        async def fill(process: Process, name: str) -> None:
            for n in range(50):
                await write(process, f"{name}{n}", f"{name}{n}+")
                await asyncio.sleep(0)

        await asyncio.gather(fill(here, "h"), fill(there, "t"))
        await write(here, "last")
        stored = [row.id for row in await here.store.read(KEY)]
        assert await mine.until("last") == stored
        assert await theirs.until("last") == stored


@contract
async def a_stream_opened_while_others_write_has_no_gap(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there):
        opened = asyncio.Event()

        async def fill() -> None:
            n = 0
            while not opened.is_set() or n < 40:
                n += 1
                await write(there, f"t{n}")
                await asyncio.sleep(0)
            await write(there, "last")

        writing = asyncio.create_task(fill())
        await until(lambda: there.store.head(KEY))
        async with reading(here) as reader:
            opened.set()
            seen = await reader.until("last")
        await writing
        stored = [row.id for row in await here.store.read(KEY)]
        assert seen == stored[-len(seen) :]


@contract
async def an_owner_hears_of_a_row_written_elsewhere(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there):
        tail = here.feed.watch(KEY)
        await asyncio.sleep(0.05)
        tail.take()
        tail.news.clear()
        await there.store.append_client(KEY, [waiting("a", kind="user.interrupt")], if_head=None, wake=False)
        async with asyncio.timeout(LONG):
            await tail.news.wait()
        assert tail.take()
        here.feed.unwatch(KEY, tail)


@contract
async def previews_come_in_order_between_their_rows(trial: ExchangeTrial) -> None:
    if not trial.previews:
        return
    async with trial.two() as (here, there), reading(here, previews=True) as reader:
        tail = there.feed.watch(KEY)
        await carried(there, reader)
        await write(there, "span")
        preview(there, "message", "h", start=True)
        for n in range(20):
            preview(there, "message", str(n))
        await reader.until("message+19")
        await write(there, "message")
        preview(there, "message", "late")
        await write(there, "after")
        assert await reader.until("after") == ["message", "after"]
        there.feed.unwatch(KEY, tail)


@contract
async def a_preview_is_not_shown_before_the_row_it_follows(trial: ExchangeTrial) -> None:
    if not trial.previews:
        return
    async with trial.two() as (here, there), reading(here, previews=True) as reader:
        tail = there.feed.watch(KEY)
        await write(there, "before")
        await reader.until("before")
        for n in range(10):
            await write(there, f"span{n}")
            preview(there, f"m{n}", "s", start=True)
            preview(there, f"m{n}", "d")
            await write(there, f"m{n}")
        seen = await reader.until("m9")
        for n in range(10):
            shown = [name for name in seen if name.partition("+")[0] in (f"span{n}", f"m{n}")]
            assert shown in ([f"span{n}", *[f"m{n}+s", f"m{n}+d"][:k], f"m{n}"] for k in range(3)), shown
        there.feed.unwatch(KEY, tail)


@contract
async def a_deleted_session_ends_its_streams_elsewhere(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there), reading(here) as reader:
        await there.store.delete_session(KEY, if_head=0)
        there.feed.deleted(KEY, b'{"id":"gone","type":"session.deleted"}')
        assert await reader.until("session.deleted") == ["session.deleted"]


async def rung(process: Process, seconds: float = SOON, *, room: bool = True) -> bool:
    """Whether the wait ended early."""
    begin = time.monotonic()
    await process.exchange.wait(seconds, room=room)
    return time.monotonic() - begin < seconds * 0.9


async def quiet(*processes: Process) -> None:
    """Wait until the rings that come with a connection have passed."""
    for process in processes:
        while await rung(process, 0.3):
            pass


async def runnable(process: Process, name: str) -> None:
    """Make a session runnable and ring, as the API does."""
    await process.store.create_session(record(name), [], wake=True)
    process.exchange.ring()


@contract
async def a_ring_ends_a_wait_elsewhere(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there):
        await quiet(there)
        ended = asyncio.create_task(rung(there, LONG))
        await asyncio.sleep(0)
        await runnable(here, "sesn_2")
        assert await ended
        assert await there.store.claim("w", limit=5)


@contract
async def a_ring_is_kept_until_the_next_wait(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there):
        await quiet(there)
        await runnable(here, "sesn_2")
        assert await rung(there, LONG)


@contract
async def many_rings_are_folded(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there):
        await quiet(there)
        for n in range(200):
            await here.store.create_session(record(f"sesn_r{n}"), [], wake=True)
            here.exchange.ring()
        times = 0
        while await rung(there, LONG if times == 0 else 0.5):
            times += 1
            await there.store.claim("w", limit=500)
        assert 1 <= times < 100


@contract
async def without_room_a_ring_is_left_to_others_and_a_recheck_ends_the_wait(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, full), trial.process() as other:
        await quiet(full, other)
        blocked = asyncio.create_task(rung(full, LONG, room=False))
        waits = asyncio.create_task(rung(other, LONG))
        await asyncio.sleep(0)
        await runnable(here, "sesn_2")
        assert await waits
        assert not blocked.done()
        full.exchange.recheck()
        assert await blocked


@contract
async def a_process_that_joins_late_hears_what_comes_then(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, _):
        await write(here, "early")
        async with trial.process() as late, reading(late) as reader:
            await quiet(late)
            await write(here, "a")
            assert await reader.until("a") == ["a"]
            waits = asyncio.create_task(rung(late, LONG))
            await asyncio.sleep(0)
            await runnable(here, "sesn_2")
            assert await waits or await late.store.claim("w", limit=1)


@contract
async def after_a_lost_connection_nothing_is_missing(trial: ExchangeTrial) -> None:
    async with trial.two() as (here, there), reading(here) as reader:
        await write(there, "a")
        await reader.until("a")
        await trial.lose_connections()
        await write(there, "b")
        assert await reader.until("b") == ["b"]
        await write(there, "c", "d")
        assert await reader.until("d") == ["c", "d"]

        numbers = itertools.count()

        async def rings_again() -> bool:
            await runnable(there, f"sesn_r{next(numbers)}")
            return await rung(here, 0.3)

        await quiet(here)
        await until(rings_again, LONG)
