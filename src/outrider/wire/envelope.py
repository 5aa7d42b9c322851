"""The bytes of an error response. Details of internal failures stay inside: the request id leads to them in the log."""

from __future__ import annotations

from typing import Any

import msgspec

from outrider.errors import Internal, OutriderError

INTERNAL_MESSAGE = "Internal server error"
LONGEST_MESSAGE = 4000  # a message may repeat a name that the client made up

_encode = msgspec.json.Encoder().encode


def error_object(error: OutriderError, request_id: str) -> dict[str, Any]:
    hidden = isinstance(error, Internal)
    shown: dict[str, Any] = {
        "type": error.wire_type,
        "message": INTERNAL_MESSAGE if hidden else error.message[:LONGEST_MESSAGE],
    }
    if error.error_code is not None and not hidden:
        shown["details"] = {"error_code": error.error_code, **error.details}
    if not hidden:
        shown |= error.extra
    return {"type": "error", "error": shown, "request_id": request_id}


def error_bytes(error: OutriderError, request_id: str) -> bytes:
    """The envelope of section "errors" of the API as JSON."""
    return _encode(error_object(error, request_id))
