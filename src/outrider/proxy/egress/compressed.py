"""Compressed bodies with placeholders in them: unpacked, swapped and packed again as they come, in bounded memory."""

from __future__ import annotations

import zlib

from outrider.proxy.egress.http1 import Malformed
from outrider.proxy.egress.placeholders import Body

PIECE = 64 * 1024
MOST_TIMES = 200  # that a body may grow when unpacked, once it is over FREE
FREE = 16 * 1024 * 1024
_EITHER = 47  # zlib's word for: gzip or zlib, whichever it is
_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def can_unpack(encoding: bytes) -> bool:
    return encoding.strip().lower() in _WINDOWS


class Repacked:
    """As `Body`, for a body in this content encoding. Raises Malformed when it is not what it says."""

    def __init__(self, body: Body, encoding: bytes) -> None:
        self._body = body
        self._unpacker = zlib.decompressobj(_EITHER)
        self._packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOWS[encoding.strip().lower()])
        self._taken = self._unpacked = 0

    def feed(self, data: bytes, last: bool) -> bytes:
        self._taken += len(data)
        found = bytearray()
        try:
            while data:
                found += self._packer.compress(self._body.feed(self._piece(data), False))
                data = self._unpacker.unconsumed_tail or self._next_member()
            while piece := self._piece(b""):  # what the unpacker still holds back
                found += self._packer.compress(self._body.feed(piece, False))
        except zlib.error as error:
            raise Malformed("the body is not in its Content-Encoding") from error
        return bytes(found) + (self._end() if last else self._packer.flush(zlib.Z_SYNC_FLUSH))

    def _piece(self, data: bytes) -> bytes:
        piece = self._unpacker.decompress(data, PIECE)
        self._unpacked += len(piece)
        if self._unpacked > FREE and self._unpacked > MOST_TIMES * self._taken:
            raise Malformed("the compressed body unpacks to too much")
        return piece

    def _next_member(self) -> bytes:
        """What follows a member that has ended is another one."""
        rest = self._unpacker.unused_data
        if self._unpacker.eof and rest:
            self._unpacker = zlib.decompressobj(_EITHER)
        return rest

    def _end(self) -> bytes:
        if self._taken and not self._unpacker.eof:
            raise Malformed("the compressed body has no end")
        return self._packer.compress(self._body.feed(b"", True)) + self._packer.flush()
