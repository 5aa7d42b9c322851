"""Measures the egress proxy: bytes through a tunnel against the same transfer without it, on loopback.

Server, client and proxy are processes of their own, as in life; the transfer is a download of `SIZE` bytes, as it is in
nearly all tunnels over TLS 1.3, and once more as bare bytes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outrider.clock import SystemClock
from outrider.links.ways import accepted
from outrider.networks import allowance
from outrider.ports.egress import EgressClaim
from outrider.proxy.egress.connection import Connection, Terms
from outrider.proxy.egress.policy import policy
from outrider.proxy.egress.record import Record
from outrider.vault.authority import Authority

SIZE = 512 * 1024 * 1024
PIECE = 256 * 1024
ROUNDS = 5


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        authority = Authority(Path(name))
        return {"tunnel, TLS": _compared(authority), "tunnel, bare bytes": _compared(None)}


def _compared(authority: Authority | None) -> dict[str, Any]:
    """Direct and through the proxy in turn, so that both see the same noise."""
    context = None if authority is None else authority.context("localhost")
    trust = None if authority is None else ssl.create_default_context(cadata=authority.certificate)
    with _process(lambda at: _serve(at, context)) as server, _process(lambda at: _proxy(at, server)) as proxy:
        direct, through = list[float](), list[float]()
        for _ in range(ROUNDS):
            direct.append(_download(server, None, trust))
            through.append(_download(server, proxy, trust))
    shares = [there / here for here, there in zip(direct, through, strict=True)]
    return {
        "share": round(statistics.median(shares), 2),
        "direct_mb_s": round(statistics.median(direct)),
        "through_mb_s": round(statistics.median(through)),
        "raw": {"direct": direct, "through": through},
    }


@contextmanager
def _process(main: Callable[[socket.socket], None]) -> Generator[int]:
    """A child that serves on a free loopback port, which is given."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = multiprocessing.get_context("fork").Process(target=main, args=(listener,), daemon=True)
    child.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield port
    finally:
        child.kill()
        child.join()


def _serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    piece = os.urandom(PIECE)
    while True:
        client, _ = listener.accept()
        if context is not None:
            client = context.wrap_socket(client, server_side=True)
        with client:
            for _ in range(SIZE // PIECE):
                client.sendall(piece)


def _proxy(listener: socket.socket, server: int) -> None:
    import uvloop

    uvloop.run(_carry(listener, server))


async def _carry(listener: socket.socket, server: int) -> None:
    listener.setblocking(False)
    terms = Terms([allowance(f"127.0.0.1:{server}")], 60.0, Record(None, SystemClock()))
    rules = policy(EgressClaim("sesn_bench", 1, "wrkspc_bench", {"type": "unrestricted"}), {})
    running = set[asyncio.Task[None]]()
    while True:
        client = await accepted(listener)
        running.add(asyncio.create_task(Connection(client, lambda: rules, terms).run()))


def _download(server: int, proxy: int | None, trust: ssl.SSLContext | None) -> float:
    """MB/s, beginning when the tunnel is open."""
    link = socket.create_connection(("127.0.0.1", proxy or server))
    if proxy is not None:
        link.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % server)
        assert link.recv(39) == b"HTTP/1.1 200 Connection established\r\n\r\n"
    if trust is not None:
        link = trust.wrap_socket(link, server_hostname="localhost")
    began, taken, buffer = time.perf_counter(), 0, bytearray(PIECE)
    with link:
        while got := link.recv_into(buffer):
            taken += got
    assert taken == SIZE
    return SIZE / 1e6 / (time.perf_counter() - began)
