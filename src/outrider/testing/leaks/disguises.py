"""The forms in which a secret may hide: as it is, and in the encodings that software commonly puts around it. Pure."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress

import zstandard

_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PIECE = 1024 * 1024
LARGEST_UNPACKED = 64 * 1024 * 1024
DEEPEST = 2
"""A backup is a compressed tar that holds what was compressed before."""


def disguises(secret: bytes) -> set[bytes]:
    """The secret and its usual encodings; of base64, in all three alignments, the part that does not depend on what
    stands around it. For ASCII secrets, which canaries are."""
    text = secret.decode("ascii")
    percent = "".join(f"%{byte:02x}" for byte in secret)
    found = {secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode(), text.encode("utf-16-le")}
    found |= {percent.encode(), percent.upper().encode()}
    for shift in range(3):
        inner = secret[(3 - shift) % 3 :]
        inner = inner[: len(inner) - len(inner) % 3]
        found |= {base64.b64encode(inner), base64.urlsafe_b64encode(inner)}
    return found


def holds(data: bytes, wanted: Collection[bytes], depth: int = DEEPEST) -> bool:
    """Whether one of `wanted` is in the data, or in something compressed that begins in it, and so on inside."""
    if any(one in data for one in wanted):
        return True
    return depth > 0 and any(holds(plain, wanted, depth - 1) for plain in unpacked(data))


def unpacked(data: bytes) -> Iterator[bytes]:
    """The gzip streams and zstd frames in the data, wherever they begin; of a broken frame, what comes before."""
    for magic, unpack in ((_GZIP, _from_gzip), (_ZSTD, _from_zstd)):
        start = data.find(magic)
        while start >= 0:
            if plain := unpack(memoryview(data)[start:]):
                yield plain
            start = data.find(magic, start + 1)


def _from_gzip(packed: memoryview) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(packed, LARGEST_UNPACKED)
    except zlib.error:
        return b""


def _from_zstd(packed: memoryview) -> bytes:
    found = bytearray()
    with suppress(zstandard.ZstdError), zstandard.ZstdDecompressor().stream_reader(packed) as plain:
        while len(found) < LARGEST_UNPACKED and (piece := plain.read(_PIECE)):
            found += piece
    return bytes(found)
