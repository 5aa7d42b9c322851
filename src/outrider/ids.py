"""Prefixed ids, sortable by creation: 48 bits of milliseconds, then a counter and randomness.

Uniqueness is all that callers may rely on.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: sorts like the number it encodes
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]  # two digits at a time
SHIFTS = range(120, -1, -10)
RANDOM_BITS = 80


class IdSource(Protocol):
    """Makes ids such as `sevt_01J…`; later ids sort after earlier ones of the same source."""

    def new(self, prefix: str) -> str: ...


def encode(value: int) -> str:
    """26 digits."""
    return "".join([PAIRS[value >> shift & 1023] for shift in SHIFTS])


class MonotonicIds:
    """The real source: within one millisecond, and when the clock steps back, the random part counts up instead."""

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str) -> str:
        fresh = (time.time_ns() // 1_000_000 << RANDOM_BITS) | int.from_bytes(os.urandom(9), "big")
        self._last = max(fresh, self._last + 1)
        return f"{prefix}_{encode(self._last)}"


class CountingIds:
    """A deterministic source for tests and replays: `sevt_0000…1`, `sevt_0000…2`."""

    def __init__(self) -> None:
        self._next = 0

    def new(self, prefix: str) -> str:
        self._next += 1
        return f"{prefix}_{encode(self._next)}"
