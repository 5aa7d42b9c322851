"""Durable records of webhook endpoints, of what is to be told to each, and of who tells it. No secret is in any.

An endpoint's signing secret and address lie in the vault process under (workspace, `IN_VAULT`, id, `secret`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from outrider.ids import IdSource
from outrider.ports.records import Page
from outrider.ports.vaults import SecretRef

MOST_WEBHOOKS = 32
"""Of one workspace."""
IN_VAULT = "webhooks"
"""In the place of a vault's id."""
TOLD = frozenset(
    {
        "session.created",
        "session.updated",
        "session.status_running",
        "session.status_idle",
        "session.status_rescheduled",
        "session.status_terminated",
        "session.thread_created",
        "session.thread_status_idle",
        "session.thread_status_terminated",
        "span.outcome_evaluation_end",
    }
)
"""Events of the log that become changes as they are appended, where an endpoint listens."""
DETAILS = ("requires_action", "budget_reached")
"""Why a session is idle, as far as it makes a difference to what is told."""


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """`body` is JSON of `name`, `description` and `enabled_events`; `secret` the version in the vault. `failures`
    counts the events that were given up since the last 2xx, the first failed attempt since then was at
    `failing_since`."""

    workspace: str
    id: str
    created_at: str
    updated_at: str
    url: str
    state: Literal["enabled", "disabled"]
    reason: str
    secret: int
    failures: int
    failing_since: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event for one endpoint. `payload` is what is sent, `due` when it is to be tried, `tried_at`, `status` and
    `problem` tell of the last attempt."""

    workspace: str
    webhook: str
    id: str
    event: str
    type: str
    payload: str
    created_at: str
    state: Literal["pending", "delivered", "failed"] = "pending"
    attempts: int = 0
    due: str = ""
    tried_at: str | None = None
    status: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A delivery as it is after an attempt; `disable`: the endpoint is disabled for this reason."""

    delivery: Delivery
    disable: str | None = None


@dataclass(frozen=True, slots=True)
class Courier:
    """The process that tells, under this epoch; `beats` moves while it lives, `owner` is empty when it has gone."""

    owner: str
    epoch: int
    beats: int


@dataclass(frozen=True, slots=True)
class Until:
    """What is due: all up to `now`, and what claims to be due after `beyond`, which is later than any pause."""

    now: str
    beyond: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What an endpoint answered: its status, or why there was none. `disable` says why it must not be asked again."""

    status: int | None
    problem: str | None
    disable: str | None = None


class Sender(Protocol):
    """The seam to the vault process, which has the addresses and the signing secrets."""

    async def send(self, ref: SecretRef, event: str, payload: str) -> Sent:
        """Sign and post this once; `ref` may name a version that was replaced since. Raises NotFound when the vault
        holds none, Overloaded when it does not answer."""
        ...


class WebhookRecords(Protocol):
    """Another workspace's id behaves like an unknown one (NotFound or None). Whatever changes who is told of what first
    makes deliveries of the changes that came before it."""

    async def create_webhook(self, record: WebhookRecord, ids: IdSource) -> None:
        """Raises InvalidRequest when the workspace has as many as it may."""
        ...

    async def webhook(self, workspace: str, webhook_id: str) -> WebhookRecord | None: ...
    async def webhooks(self, workspace: str, page: Page) -> list[WebhookRecord]: ...
    async def update_webhook(self, record: WebhookRecord, ids: IdSource, *, if_updated: str) -> None:
        """Write `url`, `state`, `reason`, `secret`, `body` and `updated_at`. What waits to be told to an endpoint that
        is disabled is given up. Raises Conflict when it was changed or deleted since then."""
        ...

    async def delete_webhook(self, workspace: str, webhook_id: str) -> None:
        """With all its deliveries. Raises NotFound."""
        ...

    async def untold(self) -> bool:
        """Whether changes of any workspace wait to be told."""
        ...

    async def fan_out(self, ids: IdSource, now: str, *, limit: int) -> int:
        """Make deliveries of the oldest changes that wait; how many changes there were. Each is taken once."""
        ...

    async def webhooks_due(self, until: Until) -> list[WebhookRecord]:
        """Enabled endpoints, of all workspaces, for which a delivery is due."""
        ...

    async def due(self, workspace: str, webhook_id: str, until: Until, *, limit: int) -> list[Delivery]: ...
    async def settle(self, courier: Courier, settled: Sequence[Settled], *, sustained: tuple[int, str]) -> None:
        """What came of attempts. An endpoint is disabled that has failed for so many events, since such a time at
        least. Raises Fenced when another courier was appointed."""
        ...

    async def delivery(self, workspace: str, webhook_id: str, delivery_id: str) -> Delivery | None: ...
    async def deliveries(
        self, workspace: str, webhook_id: str, *, state: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[Delivery]:
        """Newest first."""
        ...

    async def resend(self, workspace: str, webhook_id: str, delivery_id: str, now: str) -> None:
        """Once more under the same event's id, with as many attempts as a new one. One that waits is left as it is.
        Raises NotFound."""
        ...

    async def forget_told(self, before: str) -> None:
        """Forget settled deliveries and told changes of before this time."""
        ...

    async def courier(self) -> Courier: ...
    async def appoint(self, owner: str, instead_of: Courier) -> Courier | None:
        """Tell from now on in the place of a courier that has not moved since it was seen like that, or has gone. None:
        somebody else does."""
        ...

    async def beat_courier(self, courier: Courier) -> bool:
        """False when another one was appointed."""
        ...

    async def resign_courier(self, courier: Courier) -> None: ...
