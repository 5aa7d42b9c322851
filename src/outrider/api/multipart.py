"""Forms that are too large to be held: the parts of a `multipart/form-data` body as they come.

Holds one piece of the body at a time. How large a part may be is its reader's concern; all else is bounded here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from outrider.errors import InvalidRequest

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_PARTS = 64
LONGEST_FIELD = 4096
ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # as HTML forms write them in names


@dataclass(frozen=True, slots=True)
class Part:
    """A part begins. `filename` None: a plain field."""

    name: str
    filename: str | None
    content_type: str


class Form:
    """One request's form. Iterate `parts`, and read each part before the next: by `content` or `text`."""

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str, *, most_parts: int = MOST_PARTS) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise InvalidRequest("The request body must be multipart/form-data with a boundary.")
        self._pieces = pieces
        self._waiting: list[Part | bytes | None] = []  # None: a part ends
        self._parts = 0
        self._most_parts = most_parts
        self._ended = False
        self._headers: dict[str, bytes] = {}
        self._field, self._value = b"", b""
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        except FormParserError as error:
            raise InvalidRequest(f"The request body is not a form: {error}") from None

    async def parts(self) -> AsyncIterator[Part]:
        """Raises InvalidRequest for a body that is cut short or not a form."""
        while True:
            found = await self._next()
            if isinstance(found, Part):
                yield found
            elif found is None and self._ended:
                return

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the part that has just begun."""
        while (found := await self._next()) is not None:
            assert isinstance(found, bytes)
            yield found

    async def text(self, name: str) -> str:
        """The part that has just begun, as a short text. Raises InvalidRequest."""
        value = b""
        async for piece in self.content():
            value += piece
            if len(value) > LONGEST_FIELD:
                raise InvalidRequest(f"{name}: Input should have at most {LONGEST_FIELD} bytes")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"{name}: Input should be UTF-8") from None

    async def _next(self) -> Part | bytes | None:
        while not self._waiting:
            if self._ended:
                return None
            piece = await anext(self._pieces, b"")
            if piece:
                self._feed(piece)
            else:
                raise InvalidRequest("The request body ends within its form.")
        return self._waiting.pop(0)

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise InvalidRequest(f"The request body is not a form: {error}") from None

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._waiting.append(data[start:end])

    def _end_part(self) -> None:
        self._waiting.append(None)

    def _end(self) -> None:
        self._ended = True

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._most_parts:
            raise InvalidRequest(f"The form should have at most {self._most_parts} parts.")
        self._headers = {}

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.lower().decode("latin-1")] = self._value
        self._field, self._value = b"", b""

    def _on_headers(self) -> None:
        try:
            disposition = self._headers.get("content-disposition", b"").decode()
            declared = self._headers.get("content-type", b"").decode()
        except UnicodeDecodeError:
            raise InvalidRequest("The headers of the form's parts must be UTF-8.") from None
        kind, options = parse_options_header(_for_parser(disposition))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidRequest("Each part of the form must have a name.")
        filename = options.get(b"filename")
        self._waiting.append(Part(_name(options[b"name"]), None if filename is None else _name(filename), declared))


def _for_parser(header: str) -> str:
    """It takes headers for latin-1: so that UTF-8 comes through, bytes go in as if they were."""
    return header.encode().decode("latin-1")


def _name(value: bytes) -> str:
    name = value.decode()
    for written, meant in ESCAPES.items():
        name = name.replace(written, meant)
    return name
