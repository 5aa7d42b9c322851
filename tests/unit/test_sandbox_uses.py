"""When a call must have ended: after its own time, and that of those that it may have to wait for."""

from __future__ import annotations

from typing import Any

import pytest

from outrider.sandbox.inputs import DEFAULT_TIMEOUT_MS, FILE_SECONDS, LONGEST_TIMEOUT_MS, seconds
from outrider.sandbox.uses import Use


def test_a_call_has_its_own_time_and_that_of_those_that_run_when_it_begins() -> None:
    use = Use()
    first = use.begin(10.0, 100.0, resume=False)
    second = use.begin(5.0, 101.0, resume=False)
    assert (first.due, second.due) == (110.0, 116.0)
    use.calls.discard(first)
    assert use.begin(1.0, 105.0, resume=False).due == 111.0
    assert second.due == 116.0


def test_calls_may_have_to_wait_for_one_that_is_resumed_after_them() -> None:
    use = Use()
    first = use.begin(10.0, 100.0, resume=True)
    second = use.begin(5.0, 100.0, resume=True)
    assert (first.due, second.due) == (115.0, 115.0)


@pytest.mark.parametrize(
    ("tool", "given", "expected"),
    [
        ("bash", {"command": "true"}, DEFAULT_TIMEOUT_MS / 1000),
        ("bash", {"command": "true", "timeout_ms": None}, DEFAULT_TIMEOUT_MS / 1000),
        ("bash", {"command": "true", "timeout_ms": 1_500}, 1.5),
        ("bash", {"command": "true", "timeout_ms": LONGEST_TIMEOUT_MS}, 86_400.0),
        ("bash", {"command": "true", "timeout_ms": LONGEST_TIMEOUT_MS + 1}, 0.0),
        ("bash", {"command": "true", "timeout_ms": 10**400}, 0.0),
        ("bash", {"command": "true", "timeout_ms": -1}, 0.0),
        ("bash", {"command": "true", "timeout_ms": True}, 0.0),
        ("bash", {"command": "true", "timeout_ms": 1.5}, 0.0),
        ("read", {"file_path": "f"}, FILE_SECONDS),
        ("read", {}, 0.0),
        ("none", {}, 0.0),
    ],
)
def test_a_call_that_is_refused_has_no_time(tool: str, given: dict[str, Any], expected: float) -> None:
    assert seconds(tool, given) == expected
