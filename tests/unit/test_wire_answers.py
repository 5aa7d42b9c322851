"""Answers and events that are hard to bring about from outside: the SDK's types read them, strictly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from anthropic.types.beta import BetaManagedAgentsDeployment, BetaManagedAgentsDeploymentRun, BetaWebhookEvent
from anthropic.types.beta.sessions import BetaManagedAgentsSessionEvent
from surface import TOUCHED

from outrider.clock import ManualClock
from outrider.ids import CountingIds
from outrider.ports.deployments import DeploymentRecord, RunRecord
from outrider.ports.vaults import Change
from outrider.resources.deployments import KEEP_ON, deployment_object, reason_for, run_object
from outrider.resources.webhooks import EVENTS, payload
from outrider.session.events import EventFactory
from outrider.testing.strict import strict_parse

NOW, LATER = "2026-06-01T10:00:00.000000Z", "2026-06-01T10:10:00.000000Z"
DEPLOYED: dict[str, Any] = {
    "name": "d", "description": None, "agent": {"type": "agent", "id": "agent_1", "version": 1},
    "environment_id": "env_1", "initial_events": [], "resources": [], "vault_ids": [], "metadata": {}, "budget": None,
    "schedule": {"type": "cron", "expression": "* * * * *", "timezone": "UTC"},
}  # fmt: skip


def read(kind: Any, told: object) -> Any:
    parsed = strict_parse(kind, json.dumps(told).encode())
    TOUCHED.answer(parsed)
    return parsed


@pytest.mark.parametrize("kind", sorted(EVENTS))
def test_every_event_of_a_webhook_is_one_that_the_sdk_knows(kind: str) -> None:
    change = Change("wrkspc_1", kind, "some_1", NOW, thread="sthr_1")
    if kind.startswith("vault_credential."):
        change = Change("wrkspc_1", kind, "some_1", NOW, vault="vlt_1")
    event = read(BetaWebhookEvent, json.loads(payload(change, kind, "whe_1")))
    assert (event.data.type, event.data.id) == (kind, "some_1")


@pytest.mark.parametrize(
    "kind",
    [
        *("agent_archived", "environment_archived", "environment_not_found", "file_not_found", "mcp_egress_blocked"),
        *("memory_store_archived", "self_hosted_resources_unsupported", "session_creation_rejected"),
        *("session_resource_not_found", "skill_not_found", "unknown", "vault_archived"),
        *("vault_not_found", "workspace_archived"),
    ],
)
def test_why_a_run_failed_and_what_it_paused_is_said_in_the_sdks_words(kind: str) -> None:
    error = {"type": f"{kind}_error", "message": "why"}
    run = RunRecord(
        *("wrkspc_1", "drun_1", "depl_1", "schedule", LATER, LATER, "agent_1", 1, "sesn_1", "failed"),
        json.dumps(error).encode(),
    )
    told = read(BetaManagedAgentsDeploymentRun, run_object(run))
    assert (told.error.type, told.trigger_context.type) == (f"{kind}_error", "schedule")
    paused = reason_for(error)
    assert (paused is None) == (f"{kind}_error" in KEEP_ON)
    body = json.dumps(DEPLOYED).encode()
    record = DeploymentRecord("wrkspc_1", "depl_1", "agent_1", 2, NOW, LATER, None, paused, None, LATER, body)
    shown = read(BetaManagedAgentsDeployment, deployment_object(record, now=LATER))
    assert (shown.status == "active") == (paused is None)
    assert paused is None or shown.paused_reason.error.type == f"{kind}_error"


@pytest.mark.parametrize(
    ("kind", "more"),
    [("unknown_error", {}), ("repository_clone_error", {"repository_url": "https://github.com/first/app"})],
)
def test_an_error_of_a_session_is_one_that_the_sdk_knows(kind: str, more: dict[str, str]) -> None:
    factory = EventFactory("sthr_1", "a", CountingIds(), ManualClock(datetime(2026, 6, 1, tzinfo=UTC)))
    row = factory.error(kind, "why", "retrying", **more)
    assert read(BetaManagedAgentsSessionEvent, json.loads(row.body)).error.type == kind
