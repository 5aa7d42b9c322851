"""What went wrong with a model request, as a ModelFailure: which kind, whether a retry can help, and when."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx2

from outrider.errors import ModelFailure

OVERLOADED = "model_overloaded_error"
RATE_LIMITED = "model_rate_limited_error"
FAILED = "model_request_failed_error"
BILLING = "billing_error"

BY_TYPE = {"overloaded_error": OVERLOADED, "rate_limit_error": RATE_LIMITED, "billing_error": BILLING}
BY_STATUS = {529: OVERLOADED, 429: RATE_LIMITED, 402: BILLING}
PASSING_TYPES = frozenset({"api_error", "timeout_error", "overloaded_error", "rate_limit_error"})
PASSING_STATUSES = frozenset({408, 409, 425, 429})


def from_response(status: int, body: object, headers: Mapping[str, str]) -> ModelFailure:
    wire_type, message = _named(body)
    kind = BY_TYPE.get(wire_type) or BY_STATUS.get(status) or FAILED
    passing = status >= 500 or status in PASSING_STATUSES or wire_type in PASSING_TYPES
    text = f"The model's server answered {status}: {message or wire_type or 'no message'}"
    retryable = passing and kind != BILLING and headers.get("x-should-retry") != "false"
    return ModelFailure(text, kind=kind, retryable=retryable, retry_after=retry_after(headers))


def from_event(body: object) -> ModelFailure:
    """An `error` event in the middle of a stream."""
    wire_type, message = _named(body)
    kind = BY_TYPE.get(wire_type, FAILED)
    retryable = (wire_type in PASSING_TYPES or not wire_type) and kind != BILLING
    return ModelFailure(
        f"The model's stream ended with an error: {message or wire_type}", kind=kind, retryable=retryable
    )


def from_transport(error: httpx2.TransportError, idle: float) -> ModelFailure:
    """The connection failed while the answer was being read."""
    if isinstance(error, httpx2.TimeoutException):
        return too_slow(idle)
    return ModelFailure(f"The model's answer was cut off ({type(error).__name__}).", kind=FAILED, retryable=True)


def too_slow(idle: float) -> ModelFailure:
    return ModelFailure(f"The model sent nothing for {idle:g} seconds.", kind=FAILED, retryable=True)


def unreachable(error: BaseException) -> ModelFailure:
    return ModelFailure(f"The model's server can't be reached ({type(error).__name__}).", kind=FAILED, retryable=True)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after`; a date counts from the response's own `date`."""
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000)
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return _until(value, headers.get("date"))


def _until(value: str | None, now: str | None) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(value or "") - parsedate_to_datetime(now or "")).total_seconds())
    except (ValueError, TypeError):
        return None


def _named(body: object) -> tuple[str, str]:
    """Type and message of an error envelope; a body that is none gives its beginning as the message."""
    if isinstance(body, dict):
        error: object = cast(dict[str, Any], body).get("error", body)
        if isinstance(error, dict):
            fields = cast(dict[str, Any], error)
            return str(fields.get("type") or ""), str(fields.get("message") or "")
        return "", str(error)
    return "", str(body or "")[:200]
