"""The strict reader itself: what the SDK would pass over, it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta import BetaManagedAgentsAgentToolset20260401, BetaManagedAgentsCustomTool
from anthropic.types.beta.sessions import BetaManagedAgentsAgentMessageEvent, BetaManagedAgentsSessionEvent
from pydantic import ValidationError

from outrider.testing.strict import UnknownKeys, strict_parse

EVENT: dict[str, Any] = {
    "id": "sevt_1",
    "type": "agent.message",
    "content": [{"type": "text", "text": "hi"}],
    "processed_at": "2026-01-01T00:00:00.000000Z",
}


def read(value: dict[str, Any], model: Any = BetaManagedAgentsSessionEvent) -> Any:
    return strict_parse(model, json.dumps(value).encode())


def test_a_good_event_comes_out_as_the_member_of_the_union_that_its_type_names() -> None:
    assert isinstance(read(EVENT), BetaManagedAgentsAgentMessageEvent)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "agent.massage"},
        {"id": 4},
        {"content": "hi"},
        {"content": [{"type": "text"}]},
        {"processed_at": "yesterday"},
        {"processed_at": None},
    ],
)
def test_wrong_or_missing_values_fail(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read(EVENT | wrong)
    with pytest.raises(ValidationError):
        read({key: value for key, value in EVENT.items() if key not in wrong})


def test_unknown_keys_fail_at_any_depth_and_are_named() -> None:
    with pytest.raises(UnknownKeys, match="extra"):
        read(EVENT | {"extra": 1})
    with pytest.raises(UnknownKeys, match=r"content.0.colour"):
        read(EVENT | {"content": [{"type": "text", "text": "hi", "colour": "red"}]})


def test_numbers_in_place_of_booleans_fail() -> None:
    default = {"enabled": 1, "permission_policy": {"type": "always_allow"}}
    toolset: dict[str, Any] = {"type": "agent_toolset_20260401", "configs": [], "default_config": default}
    with pytest.raises(ValidationError):
        read(toolset, BetaManagedAgentsAgentToolset20260401)


def test_an_open_ended_object_may_have_any_keys() -> None:
    schema = {"type": "object", "additionalProperties": False}
    tool = {"type": "custom", "name": "t", "description": "d", "input_schema": schema}
    read(tool, BetaManagedAgentsCustomTool)
