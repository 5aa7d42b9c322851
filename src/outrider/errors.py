"""The one error tree. Each leaf knows its wire type and HTTP status; `api/errors.py` alone turns it into a response.

OutriderError
├── InvalidRequest (400)
│   ├── NotSupported (400: accepted by the API, not offered by this server)
│   ├── HeartbeatRefused (412: the work item is not as its worker believes)
│   └── EnvironmentArchived (400)
├── AuthenticationFailed (401)
├── PermissionDenied (403)
│   └── NotDeclared (403: a session uses what it has not declared to the vault)
├── NotFound (404)
├── Conflict (409, deterministic: never worth a retry)
│   ├── MemoryPathConflict (409: another memory is at the path, above it or below it)
│   └── MemoryPreconditionFailed (409: the memory is not as the caller believes)
├── RequestTooLarge (413)
├── RateLimited (429)
├── Overloaded (529)
├── StorageFull (529)
├── BlobsUnavailable (529: the blob store does not answer)
├── BlobDamaged (500: stored bytes are lost or changed)
├── UpstreamUnreachable (502: a server that this one speaks to does not answer)
└── Internal: never shown to a client in detail (500)
    ├── Fenced: another owner took the session over
    ├── HeadMoved: the log grew after it was read
    ├── AlreadyAnswered: the same request was taken and answered elsewhere meanwhile
    ├── ModelFailure: a model request failed
    ├── SandboxUnavailable: no isolation on this host, or no room
    ├── LogCold: a session's rows lie in the blob store and must be brought back first
    ├── PeerRefused: a process of this deployment is not who it should be
    └── CallLost: a tool call's outcome can no longer be learnt
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class OutriderError(Exception):
    """Root of all errors raised on purpose. `message` is safe to show to the caller of the API."""

    status: ClassVar[int] = 500
    wire_type: ClassVar[str] = "api_error"

    def __init__(self, message: str, *, error_code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code
        self.retry_after = retry_after
        self.extra: dict[str, str] = {}
        self.details: dict[str, Any] = {}


class InvalidRequest(OutriderError):
    """The request breaks a rule; the message names the field and the rule."""

    status = 400
    wire_type = "invalid_request_error"


class NotSupported(InvalidRequest):
    """Valid in the API, but not offered by this server; refused so that no field is silently ignored."""


class HeartbeatRefused(InvalidRequest):
    """A work item's heartbeat is not the one that the request expects. `current`: the item as it stands."""

    status = 412

    def __init__(self, message: str, current: Mapping[str, Any]) -> None:
        super().__init__(message, error_code="heartbeat_precondition_failed")
        self.details = {"current_state": current}


class EnvironmentArchived(InvalidRequest):
    """A write to, or a session on, an archived environment."""

    def __init__(self, environment_id: str) -> None:
        super().__init__(f"Environment {environment_id} is archived.", error_code="environment_archived")


class AuthenticationFailed(OutriderError):
    """No key, or one that is unknown or revoked."""

    status = 401
    wire_type = "authentication_error"


class PermissionDenied(OutriderError):
    """The key is known but may not do this."""

    status = 403
    wire_type = "permission_error"


class NotDeclared(PermissionDenied):
    """The session has not declared what is used in its name; no client of the API sees this one."""


class NotFound(OutriderError):
    """No such thing in this workspace."""

    status = 404
    wire_type = "not_found_error"


class Conflict(OutriderError):
    """The state forbids it and a retry of the same request can't help."""

    status = 409
    wire_type = "conflict_error"


class MemoryPathConflict(Conflict):
    """A memory can't have this path because of another one, which the envelope names."""

    wire_type = "memory_path_conflict_error"

    def __init__(self, *, memory: str, path: str) -> None:
        super().__init__(f"The path is taken by memory {memory} at {path}.")
        self.extra = {"conflicting_memory_id": memory, "conflicting_path": path}


class MemoryPreconditionFailed(Conflict):
    """The memory's content is not what the caller expects."""

    wire_type = "memory_precondition_failed_error"


class RequestTooLarge(OutriderError):
    """The body is over the limit."""

    status = 413
    wire_type = "request_too_large"


class RateLimited(OutriderError):
    """Too many requests; `retry_after` seconds say when to come back."""

    status = 429
    wire_type = "rate_limit_error"


class Overloaded(OutriderError):
    """The server has no room for this now."""

    status = 529
    wire_type = "overloaded_error"


class StorageFull(Overloaded):
    """The log could not be written because its file system is full; nothing was stored."""


class BlobsUnavailable(Overloaded):
    """The blob store could not be reached, or refused; nothing was stored, and a retry may help."""


class BlobDamaged(OutriderError):
    """Stored bytes are missing or not what was written; the message names the blob. Only its session suffers."""


class UpstreamUnreachable(OutriderError):
    """A server beyond the vault's proxy can't be reached or broke off; the message names its host."""

    status = 502


class Internal(OutriderError):
    """A failure inside; clients see a generic text and the request id."""


class UnfitDatabase(Internal):
    """The database can't be used as it is, and will not be fit by waiting: the server ends, saying why."""


class Fenced(Internal):
    """Another owner has claimed the session: stop at once and drop everything in memory."""


class AlreadyAnswered(Internal):
    """The request was taken under another attempt, whose answer is stored. Nothing was written."""


class HeadMoved(Internal):
    """The log has grown since it was read: read on and decide again. Nothing was written."""


class LogCold(Internal):
    """The session's rows were moved to the blob store: bring them back, then try again. Nothing was written."""


class ModelFailure(Internal):
    """A model request failed. `kind` is the `session.error` type; `retryable` says whether a new attempt can help."""

    def __init__(self, message: str, *, kind: str, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.kind = kind
        self.retryable = retryable


class ConnectorFailed(Internal):
    """An MCP server could not be asked; `kind` is the type of the `session.error` that says so."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class SandboxUnavailable(Internal):
    """A sandbox can't be had. The message names the cause and the fix; it becomes the tool's error result."""


class PeerRefused(Internal):
    """The other end of a connection between our own processes has no certificate that is good for its role."""


class CallLost(Internal):
    """The sandbox that ran the call is gone together with its journal's end: it may have partly run."""


class SecretsLocked(Internal):
    """A stored secret can't be opened with the keys at hand. The message names the key that is missing and the way
    to bring it back; nothing was changed."""


class KeyUnavailable(Internal):
    """The service that keeps the vault's key does not answer; later it may."""


def causes(group: BaseExceptionGroup[OutriderError]) -> list[OutriderError]:
    """What tasks failed with, those of groups within groups too."""
    each = [causes(one) if isinstance(one, BaseExceptionGroup) else [one] for one in group.exceptions]
    return [error for some in each for error in some]
