"""Frames between a harness and a sandbox host: one JSON object a line, both ways, over one verified connection.

Promised: either side notices within `SILENT_SECONDS` of its own monotonic clock that the other has gone, and idle
proxies see traffic every `BEAT_SECONDS`. Owns no meaning: see `sandboxes` and `sandbox_server`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from outrider.links.peers import explain

BEAT_SECONDS = 2.0
SILENT_SECONDS = 8.0
LONGEST_FRAME = 64 * 1024**2
CHUNK = 256 * 1024
VERSION = 2

Frame = dict[str, Any]


class Gone(Exception):
    """The other end is away, silent, or speaks something else; the text says which."""


class NotTrusted(Gone):
    """It refuses our certificate."""


class Frames:
    """One connection's frames. `close` it at the end; nobody else uses its streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, frame: Frame | None = None) -> None:
        """A frame, or None for the empty line that only says that we are here. Raises Gone."""
        data = b"" if frame is None else msgspec.json.encode(frame)
        try:
            self._writer.write(data + b"\n")
            await self._writer.drain()
        except (OSError, RuntimeError) as error:
            raise Gone(f"the connection broke: {error}") from error

    async def received(self) -> AsyncGenerator[Frame]:
        """Frames as they come, without end. Raises Gone."""
        rest = bytearray()
        while True:
            rest += await self._chunk()
            *lines, tail = rest.split(b"\n")
            for line in lines:
                if line:
                    yield _decoded(line)
            rest = bytearray(tail)
            if len(rest) > LONGEST_FRAME:
                raise Gone("it sent a frame that is too long")

    async def _chunk(self) -> bytes:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                data = await self._reader.read(CHUNK)
        except TimeoutError:
            raise Gone(f"it was silent for {SILENT_SECONDS:.0f} s") from None
        except ssl.SSLError as error:
            raise NotTrusted(explain(error)) from error
        except OSError as error:
            raise Gone(f"the connection broke: {error}") from error
        if not data:
            raise Gone("it closed the connection")
        return data

    def close(self) -> None:
        """At once: what was not sent yet is not waited for."""
        self._writer.transport.abort()


def _decoded(line: bytes | bytearray) -> Frame:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Gone("it sent what is no frame") from error
