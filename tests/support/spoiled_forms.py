"""Uploads as forms (multipart/form-data), written byte by byte, so that they can be wrong as forms can be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

BOUNDARY = "the-boundary"
Part = tuple[str, str, bytes]
"""Field, filename, content."""


def form(parts: Sequence[Part], rng: random.Random | None) -> tuple[bytes, str]:
    """The body and its content type; spoiled in one or two ways, if there is a `rng` to choose them."""
    if rng is None:
        return _written(parts), f"multipart/form-data; boundary={BOUNDARY}"
    body = _written(_changed(parts, rng) if rng.random() < 0.5 else parts)
    if rng.random() < 0.7:
        body = rng.choice(_BODIES)(body, rng)
    kind = rng.choice(_KINDS) if rng.random() < 0.2 else f"multipart/form-data; boundary={BOUNDARY}"
    return body, kind


def _written(parts: Sequence[Part]) -> bytes:
    return b"".join(_part(*part) for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(name: str, filename: str, content: bytes) -> bytes:
    said = f'form-data; name="{name}"; filename="{filename}"'.encode("utf-8", "surrogateescape")
    head = b"--" + BOUNDARY.encode() + b"\r\ncontent-disposition: " + said
    return head + b"\r\ncontent-type: application/octet-stream\r\n\r\n" + content + b"\r\n"


def _changed(parts: Sequence[Part], rng: random.Random) -> list[Part]:
    name, filename, content = rng.choice(parts)
    strange = rng.choice(
        ["", "x", "file", "files[]", "../" * 50 + "a", "/etc/passwd", "a\x00b", "\udcff", "a" * 5000, "."]
    )
    changed = rng.choice(
        [
            (strange, filename, content),
            (name, strange, content),
            (name, filename, rng.choice([b"", b"\x00\xff" * 99, b"PK\x03\x04" + content, b"---\nname: [\n---\n"])),
        ]
    )
    return rng.choice([[changed], [*parts, changed], [changed, *parts], [*parts, *parts]])


def _cut(body: bytes, rng: random.Random) -> bytes:
    return body[: rng.randrange(len(body))]


def _holed(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + body[at + rng.randrange(1, 40) :]


def _disturbed(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + rng.randbytes(rng.randrange(1, 20)) + body[at:]


def _without_disposition(body: bytes, rng: random.Random) -> bytes:
    return body.replace(
        b"content-disposition", rng.choice([b"x", b"", b"content-disposition: x\r\ncontent-disposition"])
    )


def _long_header(body: bytes, rng: random.Random) -> bytes:
    return body.replace(b"content-type: ", b"content-type: " + b"x" * rng.choice([9_000, 70_000]), 1)


def _bare_lines(body: bytes, rng: random.Random) -> bytes:
    return body.replace(b"\r\n", rng.choice([b"\n", b"\r", b""]))


_BODIES: list[Callable[[bytes, random.Random], bytes]] = [
    _cut, _holed, _disturbed, _without_disposition, _long_header, _bare_lines
]  # fmt: skip
_KINDS = [
    "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other",
    f'multipart/form-data; boundary="{BOUNDARY}', "multipart/form-data; boundary=" + "b" * 300, "multipart/mixed", "",
]  # fmt: skip
