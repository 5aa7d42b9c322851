"""Compares the ledger with the official SDK: what the SDK can call or receive has an entry, so nothing is forgotten."""

from __future__ import annotations

import inspect
import re
import typing

import pytest
from anthropic.resources.beta.agents import Agents, Versions
from anthropic.resources.beta.environments import Environments
from anthropic.resources.beta.sessions import Events, Resources, Sessions, Threads
from anthropic.resources.beta.sessions.threads import Events as ThreadEvents
from anthropic.types.beta import agent_create_params, environment_create_params, session_create_params
from anthropic.types.beta.sessions import BetaManagedAgentsSessionErrorEvent, BetaManagedAgentsSessionEventType
from pydantic import BaseModel

from conformance.requirements import ALL

TEXT = "\n".join(f"{entry.id} {entry.sentence}" for entry in ALL.values())
METHODS: list[tuple[str, type, dict[str, str]]] = [
    ("agents", Agents, {}),
    ("agents", Versions, {"list": "agents:versions"}),
    ("environments", Environments, {}),
    ("sessions", Sessions, {}),
    ("events", Events, {}),
    ("threads", Threads, {}),
    ("threads", ThreadEvents, {"list": "threads:events"}),
    ("resources", Resources, {}),
]
FIELDS: list[tuple[str, type]] = [
    ("agents", agent_create_params.AgentCreateParams),
    ("environments", environment_create_params.EnvironmentCreateParams),
    ("sessions", session_create_params.SessionCreateParams),
]


def literals(annotation: object) -> set[str]:
    """Every string in the literals of a type, however deep."""
    found: set[str] = set()
    for part in typing.get_args(annotation):
        found |= {part} if isinstance(part, str) else literals(part)
    return found


@pytest.mark.parametrize(("area", "resource", "names"), METHODS)
def test_every_call_that_the_sdk_has_is_in_the_ledger(area: str, resource: type, names: dict[str, str]) -> None:
    calls = [
        name for name, _ in inspect.getmembers(resource, inspect.isfunction) if not name.startswith(("_", "with_"))
    ]
    owed = [names.get(call, f"{area}:{call}") for call in calls if call not in ("tool_runner", "cast")]
    assert owed
    assert not [id for id in owed if id not in ALL]


@pytest.mark.parametrize(("area", "params"), FIELDS)
def test_every_field_that_the_sdk_creates_with_is_in_the_ledger(area: str, params: type) -> None:
    ids = " ".join(id for id in ALL if id.startswith(f"{area}:"))
    for field in set(typing.get_type_hints(params)) - {"betas", "workspace_id"}:
        assert field.removesuffix("_id").replace("_", "-") in ids, f"{area} has no entry for {field}"


@pytest.mark.parametrize("kind", sorted(literals(BetaManagedAgentsSessionEventType)))
def test_every_event_type_of_the_sdk_is_in_the_ledger(kind: str) -> None:
    assert re.search(rf"(?<![\w.]){re.escape(kind)}(?![\w.])", TEXT)


def test_every_session_error_of_the_sdk_is_in_the_ledger() -> None:
    field = BetaManagedAgentsSessionErrorEvent.model_fields["error"]
    kinds = {kind for member in typing.get_args(field.annotation) for kind in literals_of_type(member)}
    grouped = ("mcp_", "repository_")
    assert len(kinds) > 10
    assert not [kind for kind in kinds if not kind.startswith(grouped) and f"emitted:error:{kind}" not in ALL]


def literals_of_type(member: type[BaseModel]) -> set[str]:
    return literals(member.model_fields["type"].annotation)
