"""The forms in which a secret may hide: as it is, and in the encodings that software commonly puts around it. Pure."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable

_GZIP = b"\x1f\x8b\x08"
LARGEST_UNPACKED = 64 * 1024 * 1024


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


def holds(data: bytes, wanted: Iterable[bytes]) -> bool:
    """Whether one of `wanted` is in the data, or in something compressed that begins in it."""
    return any(one in data for one in wanted) or any(one in plain for plain in unpacked(data) for one in wanted)


def unpacked(data: bytes) -> Iterable[bytes]:
    """The gzip streams in the data, wherever they begin."""
    start = data.find(_GZIP)
    while start >= 0:
        try:
            yield zlib.decompressobj(wbits=31).decompress(data[start:], LARGEST_UNPACKED)
        except zlib.error:
            pass
        start = data.find(_GZIP, start + 1)


def packed(data: bytes) -> bytes:
    """For trying the search out."""
    return gzip.compress(data)
