"""The format of a cold log's segment: JSON lines, one a row, compressed with zstd. Owns nothing else."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode, b64encode
from collections.abc import AsyncIterable, AsyncIterator, Iterator

import msgspec
import zstandard

from outrider.ports.log import Row

LEVEL = 6


class _Line(msgspec.Struct, omit_defaults=True):
    """A row; `body` is its text, `body64` stands for one that is not UTF-8."""

    seq: int
    id: str
    type: str
    thread: str
    public: bool
    epoch: int
    processed_at: str | None = None
    processes: str | None = None
    body: str | None = None
    body64: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def line(row: Row) -> bytes:
    try:
        body, body64 = row.body.decode(), None
    except UnicodeDecodeError:
        body, body64 = None, b64encode(row.body).decode()
    facts = (row.seq, row.id, row.type, row.thread, row.public, row.epoch, row.processed_at, row.processes)
    return msgspec.json.encode(_Line(*facts, body, body64)) + b"\n"


def row(text: bytes) -> Row:
    """Raises ValueError (msgspec's) for what is no line of ours."""
    got = _decoder.decode(text)
    body = b64decode(got.body64) if got.body64 is not None else (got.body or "").encode()
    return Row(got.seq, got.id, got.type, body, got.thread, got.public, got.epoch, got.processed_at, got.processes)


class Packer:
    """Compresses pages of rows into a stream; afterwards `rows` and `sha256` say what went in."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def pack(self, pages: AsyncIterable[list[Row]]) -> AsyncIterator[bytes]:
        zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        async for page in pages:
            if piece := await asyncio.to_thread(self._squeeze, zstd, page):
                yield piece
        yield zstd.flush()

    def _squeeze(self, zstd: zstandard.ZstdCompressionObj, page: list[Row]) -> bytes:
        text = b"".join(map(line, page))
        self.rows += len(page)
        self._digest.update(text)
        return zstd.compress(text)


class Unpacker:
    """The reverse. `unpack` raises ValueError for a damaged stream."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def unpack(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[list[Row]]:
        zstd = zstandard.ZstdDecompressor().decompressobj()
        rest = b""
        try:
            async for piece in pieces:
                text = rest + await asyncio.to_thread(zstd.decompress, piece)
                whole, _, rest = text.rpartition(b"\n")
                if whole:
                    yield await asyncio.to_thread(self._rows, whole + b"\n")
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        if rest or not zstd.eof:
            raise ValueError("the stream ends early")

    def _rows(self, text: bytes) -> list[Row]:
        self._digest.update(text)
        found = list(self._parsed(text))
        self.rows += len(found)
        return found

    @staticmethod
    def _parsed(text: bytes) -> Iterator[Row]:
        return (row(part) for part in text.split(b"\n") if part)
