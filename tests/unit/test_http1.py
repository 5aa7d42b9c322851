"""The way of model requests: connections that are kept, answers in every framing, ends that come too early."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import httpx2
import pytest

from outrider.links.http1 import HELD_BYTES, LONGEST_HEAD, Answer, Connection, Connections

pytestmark = pytest.mark.anyio

ASKED = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
TIMES = {"connect": 10.0, "write": 10.0, "read": 10.0}

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connections(serve: Serve, *, keep: float = math.inf) -> AsyncGenerator[tuple[Connections, list[int]]]:
    """Those to a server that gives each connection to `serve`, and the numbers of the connections that it took."""
    taken: list[int] = []
    serving: list[asyncio.Task[None]] = []

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await serve(reader, writer)

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(len(taken) + 1)
        serving.append(asyncio.create_task(run(reader, writer)))

    async with asyncio.timeout(20), await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        async def connect(make: Callable[[], Connection]) -> Connection:
            return (await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port))[1]

        pool = Connections("here", connect, keep=keep, insist=False)
        yield pool, taken
        await pool.close()
        await asyncio.gather(*serving, return_exceptions=True)


def saying(answer: bytes, *, then_hang_up: bool = False) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)
            if then_hang_up:
                return

    return serve


async def whole(answer: Answer) -> bytes:
    body = b"".join([part async for part in answer.chunks()])
    await answer.close()
    return body


async def test_a_connection_that_lay_idle_for_too_long_is_not_used_again() -> None:
    async with connections(saying(OK), keep=0.0) as (pool, taken):
        for _ in range(2):
            assert await whole(await pool.ask(ASKED, TIMES)) == b"hello"
    assert taken == [1, 2]


async def test_an_answer_of_unknown_length_ends_with_its_connection() -> None:
    async with connections(saying(b"HTTP/1.1 200 OK\r\n\r\nhello", then_hang_up=True)) as (pool, taken):
        for _ in range(2):
            assert await whole(await pool.ask(ASKED, TIMES)) == b"hello"
    assert taken == [1, 2]


async def test_an_answer_that_is_cut_short_is_an_error_after_what_came_of_it() -> None:
    cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"
    async with connections(saying(cut, then_hang_up=True)) as (pool, _):
        answer = await pool.ask(ASKED, TIMES)
        parts = answer.chunks()
        assert await anext(parts) == b"hello"
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(parts)
        await answer.close()


async def test_a_word_ahead_of_the_answer_is_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    async with connections(saying(early + OK)) as (pool, taken):
        for _ in range(2):
            answer = await pool.ask(ASKED, TIMES)
            assert answer.status == 200
            assert answer.headers == [(b"content-length", b"5")]
            assert await whole(answer) == b"hello"
    assert taken == [1]


async def test_what_nobody_asked_for_is_given_to_no_later_request() -> None:
    async with connections(saying(OK + OK.replace(b"hello", b"false"))) as (pool, taken):
        for _ in range(2):
            assert await whole(await pool.ask(ASKED, TIMES)) == b"hello"
    assert taken == [1, 2]


async def test_a_server_that_hangs_up_without_a_word_is_not_asked_again() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(4096))
        writer.write(OK)
        asked.append(await reader.read(4096))

    async with connections(serve) as (pool, _):
        await whole(await pool.ask(ASKED, TIMES))
        with pytest.raises(httpx2.RemoteProtocolError):
            await pool.ask(ASKED, TIMES)
    assert asked == [ASKED, ASKED]


async def test_an_answer_before_the_request_was_sent_is_taken_and_ends_the_connection() -> None:
    refused = b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n\r\nlarge"

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"a"
            await asyncio.sleep(0)  # a turn for what comes back

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        while await reader.read(4096):
            pass

    async with connections(serve) as (pool, taken):
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n"
        for _ in range(2):
            answer = await pool.ask(head, TIMES, parts())
            assert (answer.status, await whole(answer)) == (413, b"large")
    assert taken == [1, 2]


async def test_a_head_without_an_end_is_given_up() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"x-more: and more\r\n" * (LONGEST_HEAD // 10)
    async with connections(saying(endless)) as (pool, _):
        with pytest.raises(httpx2.RemoteProtocolError, match="too long"):
            await pool.ask(ASKED, TIMES)


async def test_a_server_is_held_back_while_nobody_takes_what_it_sends() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(4096)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        part = bytes(64 * 1024)
        while sent < 64 * HELD_BYTES:
            writer.write(b"10000\r\n" + part + b"\r\n")
            try:
                async with asyncio.timeout(0.2):
                    await writer.drain()
            except TimeoutError:
                held_back.set()
                await writer.drain()
            sent += len(part)
        writer.write(b"0\r\n\r\n")

    held_back = asyncio.Event()
    async with connections(serve) as (pool, _):
        answer = await pool.ask(ASKED, TIMES)
        await held_back.wait()
        assert sent < 64 * HELD_BYTES
        assert len(await whole(answer)) == sent


@pytest.mark.parametrize("said", [b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"])
async def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    async with connections(saying(said)) as (pool, _):
        with pytest.raises(httpx2.TransportError):
            async with asyncio.timeout(5):
                await pool.ask(ASKED, {**TIMES, "read": 0.5})
