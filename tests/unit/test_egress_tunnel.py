"""Tunnels share a few large buffers: all bytes arrive, however many of them carry much at once."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from outrider.proxy.egress.tunnel import LARGE, Buffers, Traffic, Tunnel

SIZE = 5 * LARGE + 17


def ends() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for one in pair:
        one.setblocking(False)
    return pair


async def carried(buffers: Buffers, sent: bytes) -> tuple[bytes, Traffic]:
    """What comes out at the client when a server sends this and closes."""
    loop = asyncio.get_running_loop()
    (client, inside), (outside, server) = ends(), ends()
    traffic = Traffic()
    with client, inside, outside, server:
        running = asyncio.create_task(Tunnel(inside, outside, traffic, 20.0, buffers).run())

        async def say() -> None:
            await loop.sock_sendall(server, sent)
            server.shutdown(socket.SHUT_WR)

        saying, received = asyncio.create_task(say()), bytearray()
        while piece := await loop.sock_recv(client, 100_000):
            received += piece
        client.shutdown(socket.SHUT_WR)
        await asyncio.gather(saying, running)
    return bytes(received), traffic


@pytest.mark.anyio
async def test_tunnels_beyond_the_large_buffers_carry_everything_too_and_give_them_back() -> None:
    buffers = Buffers(most=1)
    sent = [os.urandom(SIZE) for _ in range(3)]
    async with asyncio.timeout(20):
        found = await asyncio.gather(*(carried(buffers, one) for one in sent))
    assert [received for received, _ in found] == sent
    assert [(traffic.sent, traffic.received) for _, traffic in found] == [(0, SIZE)] * 3
    assert len(buffers.borrow() or b"") == LARGE
    assert buffers.borrow() is None
