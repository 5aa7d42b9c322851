"""The transport to the vault: what each model request costs on its way."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from outrider.links.unix_http import UnixTransport

pytestmark = pytest.mark.anyio


class Listener:
    """Answers each request with `answer`; `served` are the connections that it took."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.served: list[asyncio.Task[None]] = []

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while await reader.read(4096):
                writer.write(self.answer)


async def connections_of_three(answer: bytes, path: Path) -> int:
    """How many connections three requests, one after the other, take."""
    listener = Listener(answer)
    async with asyncio.timeout(10), await asyncio.start_unix_server(listener.take, path):
        async with httpx2.AsyncClient(transport=UnixTransport(path)) as client:
            for _ in range(3):
                assert (await client.get("http://vault/")).content == b"hello"
        await asyncio.gather(*listener.served)
    return len(listener.served)


COUNTED = b"content-length: 5\r\n\r\nhello"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("framing", [COUNTED, CHUNKED])
async def test_requests_that_follow_one_another_share_a_connection(framing: bytes, tmp_path: Path) -> None:
    assert await connections_of_three(b"HTTP/1.1 200 OK\r\n" + framing, tmp_path / "s") == 1


async def test_an_answer_that_says_it_is_the_last_is_taken_at_its_word(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello"
    assert await connections_of_three(answer, tmp_path / "s") == 3
