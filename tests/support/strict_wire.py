"""Reads everything that a client receives as the SDK's types declare it, strictly, while it passes by.

`StrictTransport` goes into any httpx2 client, the SDK's own included. What breaks a type is collected in `breaches`;
the conformance suite's fixtures fail the test in which one occurred.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import httpx2
from anthropic.pagination import SyncBidirectionalPageCursor, SyncPage, SyncPageCursor
from anthropic.types import ModelInfo
from anthropic.types.beta import (
    BetaDeletedFile,
    BetaDeletedSkill,
    BetaDream,
    BetaEnvironment,
    BetaEnvironmentDeleteResponse,
    BetaFileMetadata,
    BetaManagedAgentsAgent,
    BetaManagedAgentsDeletedMemoryStore,
    BetaManagedAgentsDeletedSession,
    BetaManagedAgentsDeletedVault,
    BetaManagedAgentsDeployment,
    BetaManagedAgentsDeploymentRun,
    BetaManagedAgentsMemoryStore,
    BetaManagedAgentsSession,
    BetaManagedAgentsVault,
    BetaSkill,
)
from anthropic.types.beta.environments import (
    BetaSelfHostedWork,
    BetaSelfHostedWorkHeartbeatResponse,
    BetaSelfHostedWorkQueueStats,
    BetaWorkLeaseState,
)
from anthropic.types.beta.memory_stores import (
    BetaManagedAgentsDeletedMemory,
    BetaManagedAgentsMemory,
    BetaManagedAgentsMemoryListItem,
    BetaManagedAgentsMemoryVersion,
)
from anthropic.types.beta.sessions import (
    BetaManagedAgentsDeleteSessionResource,
    BetaManagedAgentsFileResource,
    BetaManagedAgentsGitHubRepositoryResource,
    BetaManagedAgentsSendSessionEvents,
    BetaManagedAgentsSessionEvent,
    BetaManagedAgentsSessionResource,
    BetaManagedAgentsSessionThread,
    BetaManagedAgentsStreamSessionEvents,
    BetaManagedAgentsStreamSessionThreadEvents,
)
from anthropic.types.beta.skills import BetaDeletedSkillVersion, BetaSkillVersion
from anthropic.types.beta.vaults import (
    BetaManagedAgentsCredential,
    BetaManagedAgentsCredentialValidation,
    BetaManagedAgentsDeletedCredential,
)
from anthropic.types.shared import ErrorType
from pydantic import BaseModel, ConfigDict, ValidationError
from surface import TOUCHED, areadable, readable

from outrider.testing.strict import UnknownKeys, strict_parse

Vault, Credential = BetaManagedAgentsVault, BetaManagedAgentsCredential
Agent, Session, Thread = BetaManagedAgentsAgent, BetaManagedAgentsSession, BetaManagedAgentsSessionThread
ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("POST", r"/v1/agents(/[^/]+(/archive)?)?", Agent),
    ("GET", r"/v1/agents/[^/]+", Agent),
    ("GET", r"/v1/agents(/[^/]+/versions)?", SyncPageCursor[Agent]),
    ("GET", r"/v1/environments/[^/]+/work/poll", BetaSelfHostedWork | None),
    ("GET", r"/v1/environments/[^/]+/work/stats", BetaSelfHostedWorkQueueStats),
    ("POST", r"/v1/environments/[^/]+/work/[^/]+/heartbeat", BetaSelfHostedWorkHeartbeatResponse),
    ("POST", r"/v1/environments/[^/]+/work/[^/]+(/(ack|stop))?", BetaSelfHostedWork),
    ("GET", r"/v1/environments/[^/]+/work/[^/]+", BetaSelfHostedWork),
    ("GET", r"/v1/environments/[^/]+/work", SyncPageCursor[BetaSelfHostedWork]),
    ("POST", r"/v1/environments(/[^/]+(/archive)?)?", BetaEnvironment),
    ("GET", r"/v1/environments/[^/]+", BetaEnvironment),
    ("DELETE", r"/v1/environments/[^/]+", BetaEnvironmentDeleteResponse),
    ("GET", r"/v1/environments", SyncPageCursor[BetaEnvironment]),
    ("POST", r"/v1/vaults/[^/]+/credentials/[^/]+/mcp_oauth_validate", BetaManagedAgentsCredentialValidation),
    ("POST", r"/v1/vaults/[^/]+/credentials(/[^/]+(/archive)?)?", Credential),
    ("GET", r"/v1/vaults/[^/]+/credentials/[^/]+", Credential),
    ("DELETE", r"/v1/vaults/[^/]+/credentials/[^/]+", BetaManagedAgentsDeletedCredential),
    ("GET", r"/v1/vaults/[^/]+/credentials", SyncPageCursor[Credential]),
    ("POST", r"/v1/vaults(/[^/]+(/archive)?)?", Vault),
    ("GET", r"/v1/vaults/[^/]+", Vault),
    ("DELETE", r"/v1/vaults/[^/]+", BetaManagedAgentsDeletedVault),
    ("GET", r"/v1/vaults", SyncPageCursor[Vault]),
    ("POST", r"/v1/memory_stores/[^/]+/memories(/[^/]+)?", BetaManagedAgentsMemory),
    ("GET", r"/v1/memory_stores/[^/]+/memories/[^/]+", BetaManagedAgentsMemory),
    ("DELETE", r"/v1/memory_stores/[^/]+/memories/[^/]+", BetaManagedAgentsDeletedMemory),
    ("GET", r"/v1/memory_stores/[^/]+/memories", SyncPageCursor[BetaManagedAgentsMemoryListItem]),
    ("POST", r"/v1/memory_stores/[^/]+/memory_versions/[^/]+/redact", BetaManagedAgentsMemoryVersion),
    ("GET", r"/v1/memory_stores/[^/]+/memory_versions/[^/]+", BetaManagedAgentsMemoryVersion),
    ("GET", r"/v1/memory_stores/[^/]+/memory_versions", SyncPageCursor[BetaManagedAgentsMemoryVersion]),
    ("POST", r"/v1/memory_stores(/[^/]+(/archive)?)?", BetaManagedAgentsMemoryStore),
    ("GET", r"/v1/memory_stores/[^/]+", BetaManagedAgentsMemoryStore),
    ("DELETE", r"/v1/memory_stores/[^/]+", BetaManagedAgentsDeletedMemoryStore),
    ("GET", r"/v1/memory_stores", SyncPageCursor[BetaManagedAgentsMemoryStore]),
    ("POST", r"/v1/sessions(/[^/]+(/archive)?)?", Session),
    ("GET", r"/v1/sessions/[^/]+", Session),
    ("DELETE", r"/v1/sessions/[^/]+", BetaManagedAgentsDeletedSession),
    ("GET", r"/v1/sessions", SyncBidirectionalPageCursor[Session]),
    ("POST", r"/v1/sessions/[^/]+/events", BetaManagedAgentsSendSessionEvents),
    ("GET", r"/v1/sessions/[^/]+(/threads/[^/]+)?/events", SyncPageCursor[BetaManagedAgentsSessionEvent]),
    ("POST", r"/v1/sessions/[^/]+/resources/[^/]+", BetaManagedAgentsGitHubRepositoryResource),
    ("GET", r"/v1/sessions/[^/]+/resources/[^/]+", BetaManagedAgentsSessionResource),
    ("DELETE", r"/v1/sessions/[^/]+/resources/[^/]+", BetaManagedAgentsDeleteSessionResource),
    ("POST", r"/v1/sessions/[^/]+/resources", BetaManagedAgentsFileResource),
    ("GET", r"/v1/sessions/[^/]+/resources", SyncPageCursor[BetaManagedAgentsSessionResource]),
    ("GET", r"/v1/sessions/[^/]+/threads", SyncPageCursor[Thread]),
    ("GET", r"/v1/sessions/[^/]+/threads/[^/]+", Thread),
    ("POST", r"/v1/files", BetaFileMetadata),
    ("GET", r"/v1/files/[^/]+", BetaFileMetadata),
    ("GET", r"/v1/files", SyncPageCursor[BetaFileMetadata]),
    ("DELETE", r"/v1/files/[^/]+", BetaDeletedFile),
    ("POST", r"/v1/skills", BetaSkill),
    ("GET", r"/v1/skills/[^/]+", BetaSkill),
    ("DELETE", r"/v1/skills/[^/]+", BetaDeletedSkill),
    ("GET", r"/v1/skills", SyncPageCursor[BetaSkill]),
    ("POST", r"/v1/skills/[^/]+/versions", BetaSkillVersion),
    ("GET", r"/v1/skills/[^/]+/versions/[^/]+", BetaSkillVersion),
    ("DELETE", r"/v1/skills/[^/]+/versions/[^/]+", BetaDeletedSkillVersion),
    ("GET", r"/v1/skills/[^/]+/versions", SyncPageCursor[BetaSkillVersion]),
    ("POST", r"/v1/deployments/[^/]+/run", BetaManagedAgentsDeploymentRun),
    ("POST", r"/v1/deployments(/[^/]+(/(archive|pause|unpause))?)?", BetaManagedAgentsDeployment),
    ("POST", r"/v1/dreams(/[^/]+/(cancel|archive))?", BetaDream),
    ("GET", r"/v1/dreams/[^/]+", BetaDream),
    ("GET", r"/v1/dreams", SyncPageCursor[BetaDream]),
    ("GET", r"/v1/deployments/[^/]+", BetaManagedAgentsDeployment),
    ("GET", r"/v1/deployments", SyncPageCursor[BetaManagedAgentsDeployment]),
    ("GET", r"/v1/deployment_runs/[^/]+", BetaManagedAgentsDeploymentRun),
    ("GET", r"/v1/deployment_runs", SyncPageCursor[BetaManagedAgentsDeploymentRun]),
    ("GET", r"/v1/models", SyncPage[ModelInfo]),
    ("GET", r"/v1/models/.+", ModelInfo),
)
STREAMS: tuple[tuple[str, Any], ...] = (
    (r"/v1/sessions/[^/]+/events/stream", BetaManagedAgentsStreamSessionEvents),
    (r"/v1/sessions/[^/]+/threads/[^/]+/stream", BetaManagedAgentsStreamSessionThreadEvents),
)


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Details(_Exact):
    error_code: str
    current_state: BetaWorkLeaseState | None = None


class Problem(_Exact):
    type: ErrorType | Literal["request_too_large"]
    message: str
    conflicting_memory_id: str | None = None
    conflicting_path: str | None = None
    details: Details | None = None


class Envelope(_Exact):
    """Every error's body: the SDK's own type for it knows neither all its kinds nor `details`."""

    type: Literal["error"]
    request_id: str
    error: Problem


class Inspector:
    """Checks bodies and frames. `seen` counts them, so that a test can tell that something was checked at all."""

    def __init__(self) -> None:
        self.breaches: list[str] = []
        self.seen = 0

    def body(self, request: httpx2.Request, status: int, headers: httpx2.Headers, content: bytes) -> None:
        wanted = Envelope if status >= 400 else _type_of_answer(request)
        self._parse(f"{request.method} {request.url.path} {status}", wanted, content)
        if not re.fullmatch(r"req_\w+", headers.get("request-id", "")):
            self.breaches.append(f"{request.method} {request.url.path}: no request id")

    def frame(self, request: httpx2.Request, frame: bytes) -> None:
        """One server-sent event: an `event:` line, one `data:` line, and JSON of that type."""
        name, _, data = frame.decode().partition("\n")
        if not (name.startswith("event: ") and data.startswith("data: ") and "\n" not in data):
            self.breaches.append(f"{request.url.path}: a frame of another form: {frame!r}")
        elif name != "event: ping":
            wanted = next(kind for path, kind in STREAMS if re.fullmatch(path, request.url.path))
            self._parse(f"{request.url.path} {name}", wanted, data.removeprefix("data: ").encode())

    def _parse(self, where: str, wanted: Any, content: bytes) -> None:
        self.seen += 1
        try:
            parsed = strict_parse(wanted, content)
        except (ValidationError, UnknownKeys) as error:
            self.breaches.append(f"{where}: {error}; {content[:2000]!r}")
        else:
            if wanted is not Envelope:
                TOUCHED.answer(parsed)


def _type_of_answer(request: httpx2.Request) -> Any:
    for method, path, kind in ROUTES:
        if method == request.method and re.fullmatch(path, request.url.path):
            return kind
    raise AssertionError(f"no type for the answer to {request.method} {request.url.path}")


class _Frames:
    """Cuts a stream's bytes into frames for the inspector."""

    def __init__(self, inspector: Inspector, request: httpx2.Request) -> None:
        self._inspector = inspector
        self._request = request
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *frames, self._rest = (self._rest + chunk).split(b"\n\n")
        for frame in frames:
            self._inspector.frame(self._request, frame)


class _Watched(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, frames: _Frames) -> None:
        self._stream = stream
        self._frames = frames

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._frames.feed(chunk)
            yield chunk

    def close(self) -> None:
        self._stream.close()


class _WatchedAsync(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, frames: _Frames) -> None:
        self._stream = stream
        self._frames = frames

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._frames.feed(chunk)
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class StrictTransport(httpx2.HTTPTransport):
    """A plain transport whose answers the inspector reads too."""

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        content = readable(request)
        response = super().handle_request(request)
        if response.is_success:
            TOUCHED.request(request, content)
        if _is_stream(response):
            assert isinstance(response.stream, httpx2.SyncByteStream)
            response.stream = _Watched(response.stream, _Frames(self._inspector, request))
        elif not _is_content(request, response):
            self._inspector.body(request, response.status_code, response.headers, response.read())
        return response


class StrictAsyncTransport(httpx2.AsyncHTTPTransport):
    """The same for the asynchronous client."""

    def __init__(self, inspector: Inspector) -> None:
        super().__init__()
        self._inspector = inspector

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await areadable(request)
        response = await super().handle_async_request(request)
        if response.is_success:
            TOUCHED.request(request, content)
        if _is_stream(response):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _WatchedAsync(response.stream, _Frames(self._inspector, request))
        elif not _is_content(request, response):
            self._inspector.body(request, response.status_code, response.headers, await response.aread())
        return response


def _is_content(request: httpx2.Request, response: httpx2.Response) -> bool:
    """Bytes of a file: no type of the SDK's."""
    return request.url.path.endswith("/content") and response.status_code == 200


def _is_stream(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")
