"""Query strings as the SDKs write them: bracketed arrays and ranges, `true`/`false`, integers, RFC 3339 times.

Unknown keys are ignored, as the API does; a key that is known but wrong is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import parse_qsl

from outrider.errors import InvalidRequest
from outrider.wire.times import read_time

RANGE_ENDS = ("gt", "gte", "lt", "lte")
LARGEST_INTEGER = 2**31 - 1  # fits the integer columns of every store
INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)


class Query:
    """One request's parameters. Of a single-valued key that is given twice, the last one counts."""

    def __init__(self, query_string: str) -> None:
        self._values: dict[str, list[str]] = {}
        for key, value in parse_qsl(query_string, keep_blank_values=True):
            if "\x00" in value:
                raise InvalidRequest(f"{key}: Input should not contain null characters")
            self._values.setdefault(key, []).append(value)

    def text(self, name: str) -> str | None:
        values = self._values.get(name)
        return values[-1] if values else None

    def integer(self, name: str, *, least: int, most: int = LARGEST_INTEGER) -> int | None:
        """None if it isn't given. Raises InvalidRequest outside of `least` to `most`."""
        given = self.text(name)
        if given is None:
            return None
        if not INTEGER.fullmatch(given):
            raise InvalidRequest(f"{name}: Input should be a valid integer")
        if int(given) < least:
            raise InvalidRequest(f"{name}: Input should be greater than or equal to {least}")
        if int(given) > most:
            raise InvalidRequest(f"{name}: Input should be less than or equal to {most}")
        return int(given)

    def limit(self, *, default: int, most: int, clamp: bool = False) -> int:
        """The page size. `clamp` takes an over-large one as `most` instead of refusing it."""
        asked = self.integer("limit", least=1, most=LARGEST_INTEGER if clamp else most)
        return default if asked is None else min(asked, most)

    def boolean(self, name: str, *, default: bool = False) -> bool:
        given = self.text(name)
        if given not in (None, "true", "false"):
            raise InvalidRequest(f"{name}: Input should be 'true' or 'false'")
        return default if given is None else given == "true"

    def choice(self, name: str, allowed: Collection[str], *, default: str) -> str:
        given = self.text(name)
        return default if given is None else _one_of(name, given, allowed)

    def choices(self, name: str, allowed: Collection[str], *, most: int = 100) -> tuple[str, ...]:
        """A repeated parameter, `name[]` or plain; repeats of one value count once."""
        given = self.strings(name, most=most)
        return tuple(dict.fromkeys(_one_of(name, value, allowed) for value in given))

    def strings(self, name: str, *, most: int = 100) -> tuple[str, ...]:
        given = [*self._values.get(f"{name}[]", ()), *self._values.get(name, ())]
        if len(given) > most:
            raise InvalidRequest(f"{name}: List should have at most {most} items")
        return tuple(given)

    def range(self, name: str, ends: Collection[str] = RANGE_ENDS) -> dict[str, str]:
        """Time bounds by end (`gt`, `gte`, `lt`, `lte`), in the form of `Clock.now`, so that they compare as text."""
        return {
            end: _timestamp(f"{name}[{end}]", given)
            for end in ends
            if (given := self.text(f"{name}[{end}]")) is not None
        }


def _one_of(name: str, given: str, allowed: Collection[str]) -> str:
    if given not in allowed:
        raise InvalidRequest(f"{name}: Input should be one of {', '.join(repr(value) for value in allowed)}")
    return given


def _timestamp(name: str, given: str) -> str:
    restored = given.replace(" ", "+") if given.count(" ") == 1 else given  # a plus that nobody escaped
    read = read_time(restored)
    if read is None:
        raise InvalidRequest(f"{name}: Input should be a valid RFC 3339 timestamp with a time zone")
    return read
