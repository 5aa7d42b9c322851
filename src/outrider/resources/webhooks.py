"""Rules of webhooks: which changes are told as which events, what an event says, and what an endpoint may be."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.records import AgentRecord, EnvironmentRecord
from outrider.ports.vaults import Change
from outrider.ports.webhooks import Delivery, WebhookRecord

ORGANIZATION = "outrider"
"""There are no organizations here; the events' form has a place for one."""
SECRET_BYTES = 32
LONGEST_URL = 2_048
LONGEST_NAME = 256
LONGEST_DESCRIPTION = 2_048
DISABLED = "The endpoint was disabled before this was delivered."

FROM_LOG: dict[str, tuple[str, ...]] = {
    "session.status_running": ("session.status_run_started", "session.running"),
    "session.status_idle": ("session.status_idled", "session.idled"),
    "session.thread_status_idle": ("session.thread_idled",),
    "session.thread_status_terminated": ("session.thread_terminated",),
    "span.outcome_evaluation_end": ("session.outcome_evaluation_ended",),
}
"""What the log's events are called here; all others have their own names."""
OF_DETAIL = {"requires_action": "session.requires_action", "budget_reached": "session.budget_reached"}
OF_THREADS = "session.thread_"

EVENTS = frozenset(
    {
        *("session.created", "session.running", "session.idled", "session.requires_action", "session.archived"),
        *("session.status_run_started", "session.status_idled", "session.status_rescheduled"),
        *("session.status_terminated", "session.updated", "session.deleted", "session.budget_reached"),
        *("session.thread_idled", "session.thread_terminated"),
        *("vault.created", "vault.archived", "vault.deleted"),
        *("vault_credential.created", "vault_credential.archived", "vault_credential.deleted"),
        "vault_credential.refresh_failed",
        *("agent.created", "agent.updated", "agent.archived"),
        *("environment.created", "environment.updated", "environment.archived", "environment.deleted"),
        *("memory_store.created", "memory_store.archived", "memory_store.deleted"),
        *("deployment.created", "deployment.updated", "deployment.archived"),
        *("deployment.paused", "deployment.unpaused"),
        *("deployment_run.started", "deployment_run.succeeded", "deployment_run.failed"),
    }
)
"""What an endpoint may ask to be told."""
NEVER = {
    "session.pending": "no session is pending here",
    "session.outcome_evaluation_ended": "outcomes are not offered here yet",
    "session.thread_created": "sessions have one thread here",
    "agent.deleted": "agents are archived, not deleted",
    "deployment.deleted": "deployments are archived, not deleted",
    **{f"user_profile.{what}": "there are no user profiles here" for what in (
        "program_status_updated", "enforcement_action_opened", "enforcement_action_resolved")},
    **{f"external_key.{what}": "there are no external keys here" for what in ("failed", "recovered")},
}  # fmt: skip
"""Events of the hosted service that never happen here: to wait for one would be in vain."""

T = TypeVar("T")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def told_as(change: Change) -> tuple[str, ...]:
    """The events that a change is told as."""
    names = FROM_LOG.get(change.type, (change.type,))
    return (*names, OF_DETAIL[change.detail]) if change.detail in OF_DETAIL else names


def changed_at(record: AgentRecord | EnvironmentRecord) -> str:
    """When this state of it was made."""
    return _decode(record.body).get("updated_at") or record.created_at


def became(record: EnvironmentRecord, *, new: bool) -> str:
    """What is said of an environment's new state. An archived one has no further."""
    if new:
        return "environment.created"
    return f"environment.{'updated' if record.archived_at is None else 'archived'}"


def payload(change: Change, kind: str, event: str) -> str:
    """What is sent: which thing, and what became of it; the thing itself is to be fetched."""
    data = {"type": kind, "id": change.object, "organization_id": ORGANIZATION, "workspace_id": change.workspace}
    if change.vault is not None:
        data["vault_id"] = change.vault
    if change.thread is not None and kind.startswith(OF_THREADS):
        data["session_thread_id"] = change.thread
    return json.dumps({"type": "event", "id": event, "created_at": change.at, "data": data}, separators=(",", ":"))


def enabled_events(body: bytes) -> frozenset[str]:
    return frozenset(_decode(body)["enabled_events"])


def listeners(endpoints: list[tuple[str, frozenset[str]]], kind: str) -> Iterator[str]:
    """Of (id, events), the ids that are told this kind."""
    return (id for id, events in endpoints if kind in events)


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request for an endpoint."""

    url: str
    enabled_events: list[str]
    name: str = ""
    description: str = ""


class WebhookUpdate(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of an update; what is not given stays."""

    url: str | None = None
    enabled_events: list[str] | None = None
    name: str | None = None
    description: str | None = None
    state: Literal["enabled", "disabled"] | None = None


def new_webhook(body: bytes, *, anywhere: bool) -> NewWebhook:
    """`anywhere`: the operator lets webhooks go to addresses that are not public. Raises InvalidRequest."""
    request = _read(body, NewWebhook)
    check_url(request.url, anywhere=anywhere)
    if not request.enabled_events:
        raise InvalidRequest("enabled_events: Input should list at least one event type")
    _check_words(request.name, request.description)
    _check_events(request.enabled_events)
    return request


def webhook_update(body: bytes, *, anywhere: bool) -> WebhookUpdate:
    """Raises InvalidRequest."""
    request = _read(body, WebhookUpdate)
    if request.url is not None:
        check_url(request.url, anywhere=anywhere)
    _check_words(request.name or "", request.description or "")
    _check_events(request.enabled_events or [])
    return request


def stored_body(name: str, description: str, events: list[str]) -> bytes:
    return msgspec.json.encode({"name": name, "description": description, "enabled_events": sorted(set(events))})


def updated_body(record: WebhookRecord, request: WebhookUpdate) -> bytes:
    """An empty list of events leaves them as they are."""
    now = _decode(record.body)
    return stored_body(
        now["name"] if request.name is None else request.name,
        now["description"] if request.description is None else request.description,
        request.enabled_events or now["enabled_events"],
    )


def new_signing_secret() -> str:
    """Shown once; the vault process keeps it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def webhook_object(record: WebhookRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "type": "webhook_endpoint",
        "url": record.url,
        **_decode(record.body),
        "state": record.state,
        "disabled_reason": record.reason,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def delivery_object(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "type": "webhook_delivery",
        "webhook_endpoint_id": delivery.webhook,
        "event_id": delivery.event,
        "event_type": delivery.type,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "last_attempt_at": delivery.tried_at,
        "response_status": delivery.status,
        "problem": delivery.problem,
        "next_attempt_at": delivery.due if delivery.state == "pending" else None,
        "created_at": delivery.created_at,
    }


def check_url(url: str, *, anywhere: bool) -> None:
    """An address that may be public; whether it is, is seen when it is connected to. Raises InvalidRequest."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidRequest("url: Input should be a valid URL") from None
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidRequest(f"url: Input should have at most {LONGEST_URL} printable ASCII characters, and no spaces")
    if parts.scheme not in ("https", "http") or not host or "\\" in url:
        raise InvalidRequest("url: Input should be an https URL with a host")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidRequest("url: Input should have no user, password or fragment")
    if anywhere:
        return
    if parts.scheme != "https" or port not in (None, 443):
        raise InvalidRequest("url: Input should be an https URL on port 443; [webhooks] allow_private allows others")
    if _is_address(host) or "." not in host.rstrip("."):
        raise InvalidRequest("url: Input should have a public host name; [webhooks] allow_private allows others")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _check_words(name: str, description: str) -> None:
    if len(name) > LONGEST_NAME or len(description) > LONGEST_DESCRIPTION:
        raise InvalidRequest(
            f"name, description: Input should have at most {LONGEST_NAME} and {LONGEST_DESCRIPTION} characters"
        )


def _check_events(events: list[str]) -> None:
    for event in events:
        if event in NEVER:
            raise InvalidRequest(f"enabled_events: {event} is never sent: {NEVER[event]}")
        if event not in EVENTS:
            raise InvalidRequest(f"enabled_events: there is no event type {event[:80]!r}")


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is no such request: {error}.") from error
