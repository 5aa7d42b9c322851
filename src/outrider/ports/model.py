"""The model as the harness sees it: one request in, one finished message out, deltas on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from outrider.endpoints import ModelProfile as ModelProfile
from outrider.endpoints import Price as Price

INVALID_JSON = "INVALID_JSON"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One Messages request. `endpoint` is a configured endpoint's name; `body` is the request without `stream`.

    `session` and `epoch` are the claim under which the vault lets it out. `encoded` is the body as JSON.
    """

    endpoint: str
    body: dict[str, Any]
    session: str
    epoch: int
    encoded: bytes = b""


@dataclass(frozen=True, slots=True)
class Delta:
    """Progress of content block `index`: it started (`kind` is the block's type), grew by `text`, or stopped."""

    step: Literal["start", "text", "stop"]
    index: int
    kind: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """The finished message: content blocks unchanged as the model sent them, and its usage as the API reports it.

    A `tool_use` whose input was no JSON object (cut by `max_tokens`, or malformed) has the input
    `{INVALID_JSON: <the text as sent>}`.
    """

    content: list[dict[str, Any]]
    stop_reason: str
    stop_details: dict[str, Any] | None = None
    usage: dict[str, Any] = field(default_factory=dict[str, Any])


class Model(Protocol):
    async def respond(self, call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
        """Stream one request to its end. Raises ModelFailure. One attempt only: retries belong to the caller.

        Cancelling the await closes the connection to the model.
        """
        ...


class Models(Protocol):
    """The configured endpoints, as data."""

    def profile(self, model: str) -> ModelProfile:
        """The profile for a model name as an agent gives it. Raises InvalidRequest when no endpoint serves it."""
        ...

    def names(self) -> list[str]:
        """Model names to list, in order."""
        ...
