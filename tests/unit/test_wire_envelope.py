"""The error envelope, as the SDK reads it."""

from __future__ import annotations

import json

from outrider.errors import (
    Conflict,
    EnvironmentArchived,
    Fenced,
    InvalidRequest,
    ModelFailure,
    NotFound,
    NotSupported,
    OutriderError,
    Overloaded,
)
from outrider.wire.envelope import LONGEST_MESSAGE, error_bytes


def shown(error: OutriderError) -> dict[str, object]:
    return json.loads(error_bytes(error, "req_1"))


def test_an_error_carries_its_type_message_and_request_id() -> None:
    assert shown(InvalidRequest("name: Field required")) == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "name: Field required"},
        "request_id": "req_1",
    }


def test_each_kind_of_error_has_its_wire_type() -> None:
    kinds = {NotFound: "not_found_error", Conflict: "conflict_error", NotSupported: "invalid_request_error"}
    kinds |= {Overloaded: "overloaded_error"}
    for kind, wire_type in kinds.items():
        error = shown(kind("m"))["error"]
        assert isinstance(error, dict)
        assert error["type"] == wire_type


def test_an_error_code_stands_in_the_details() -> None:
    assert shown(EnvironmentArchived("env_1"))["error"] == {
        "type": "invalid_request_error",
        "message": "Environment env_1 is archived.",
        "details": {"error_code": "environment_archived"},
    }


def test_a_message_is_cut_to_a_fixed_length() -> None:
    assert shown(NotFound("x" * 100_000))["error"] == {"type": "not_found_error", "message": "x" * LONGEST_MESSAGE}


def test_internal_failures_show_no_detail() -> None:
    for error in (Fenced("epoch 4 is over"), ModelFailure("key sk-1 refused", kind="billing_error", retryable=False)):
        assert shown(error)["error"] == {"type": "api_error", "message": "Internal server error"}
