"""One model request with the official client: streamed, one attempt, failures as ModelFailure. It holds no key.

Requests go to `base_url` through the given HTTP client (in production: the vault's unix socket).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
from anthropic import APIError, AsyncAnthropic, AsyncStream, Omit
from anthropic.types.beta import BetaRawMessageStreamEvent
from anyio import move_on_after
from typing_extensions import override

from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.errors import ModelFailure
from outrider.models import failures
from outrider.models.reply import ReplyBuilder
from outrider.ports.model import Delta, ModelCall, ModelReply

FAST_MODE = "fast-mode-2026-02-01"  # the SDK's documentation: some models want it for any `speed`
CONNECT_TIMEOUT = 10.0
WRITE_TIMEOUT = 60.0
DRAIN_TIMEOUT = 0.25
MESSAGES = "/v1/messages?beta=true"

Capability = Callable[[ModelCall], Awaitable[str]]
Events = AsyncGenerator[Any, None]


class PlainClient(AsyncAnthropic):
    """The official client without what it would take from the environment: keys, headers, addresses, tracing."""

    def __init__(self, base_url: str, http_client: httpx2.AsyncClient) -> None:
        super().__init__(
            api_key="",  # explicit, so that no variable is read; never sent
            base_url=base_url,
            http_client=http_client,
            timeout=http_client.timeout,
            webhook_key="",
            max_retries=0,
            open_telemetry=False,
        )
        self._custom_headers = {}  # else ANTHROPIC_CUSTOM_HEADERS

    @property
    @override
    def auth_headers(self) -> dict[str, str]:
        return {}


def http_client(idle_timeout: float, *, socket: Path | None = None) -> httpx2.AsyncClient:
    """An HTTP client that waits at most `idle_timeout` seconds for the next bytes, over `socket` when given."""
    timeout = httpx2.Timeout(idle_timeout, connect=CONNECT_TIMEOUT, write=WRITE_TIMEOUT, pool=CONNECT_TIMEOUT)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0)
    transport = httpx2.AsyncHTTPTransport(uds=str(socket) if socket else None, limits=limits, trust_env=False)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


class AnthropicModel:
    """The Model port over the Messages API. `capability` gives the claim's token for each request.

    `key` is for trying an endpoint without a vault (`outrider doctor`); the harness never passes one.
    """

    def __init__(
        self,
        base_url: str,
        client: httpx2.AsyncClient,
        *,
        capability: Capability | None = None,
        key: tuple[str, str] | None = None,
    ) -> None:
        self._client = PlainClient(base_url, client)
        self._idle = client.timeout.read or 0.0
        self._capability = capability
        self._key = key

    async def close(self) -> None:
        await self._client.close()

    async def respond(self, call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
        """Stream one request to its end. Raises ModelFailure. Cancelling closes the connection."""
        body = msgspec.json.encode({**call.body, "stream": True})
        headers = await self._headers(call)
        builder = ReplyBuilder(on_delta)
        try:
            stream = await self._send(body, headers)
        except APIError as error:
            raise failures.from_sdk(error, self._idle) from error
        except httpx2.TransportError as error:  # while an error's body was read
            raise failures.from_transport(error, self._idle) from error
        try:
            await self._read(stream, builder)
        except httpx2.TransportError as error:
            raise failures.from_transport(error, self._idle) from error
        except UnicodeDecodeError as error:
            raise _no_event() from error
        finally:
            await stream.close()
        return builder.reply()

    async def _send(self, body: bytes, headers: dict[str, str | Omit]) -> AsyncStream[BetaRawMessageStreamEvent]:
        """Through the client's raw path: the body is wire JSON already, and typed parsing would only cost time."""
        return await self._client.post(
            MESSAGES,
            cast_to=object,
            content=body,
            options={"headers": headers},
            stream=True,
            stream_cls=AsyncStream[BetaRawMessageStreamEvent],
        )

    async def _headers(self, call: ModelCall) -> dict[str, str | Omit]:
        headers: dict[str, str | Omit] = {"authorization": Omit(), ENDPOINT_HEADER: call.endpoint}
        if call.body.get("speed") == "fast":
            headers["anthropic-beta"] = FAST_MODE
        if self._capability is not None:
            headers[CAPABILITY_HEADER] = await self._capability(call)
        if self._key is not None:
            headers[self._key[0]] = self._key[1]
        return headers

    async def _read(self, stream: AsyncStream[BetaRawMessageStreamEvent], builder: ReplyBuilder) -> None:
        kind = stream.response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise ModelFailure(
                f"The model's server does not stream: it answered with {kind or 'no content type'}.",
                kind=failures.FAILED,
                retryable=False,
            )
        async with aclosing(cast(Events, AsyncStream.raw_events(stream.response))) as events:
            async for sse in events:
                if sse.event == "error":
                    raise failures.from_event(_decode(sse.data))
                if sse.data and sse.event != "ping":
                    builder.take(_event(sse.data))
                if builder.finished:
                    return await _drain(events)


async def _drain(events: Events) -> None:
    """Read to the body's end, so that the connection can serve the next request; the message is complete already."""
    with move_on_after(DRAIN_TIMEOUT), suppress(httpx2.TransportError, UnicodeDecodeError):
        async for _ in events:
            pass


def _event(data: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _no_event() from error


def _no_event() -> ModelFailure:
    text = "The model's stream holds an event that is no JSON object."
    return ModelFailure(text, kind=failures.FAILED, retryable=True)


def _decode(data: str) -> object:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data
