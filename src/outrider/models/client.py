"""One model request as the official client makes it: streamed, one attempt, failures as ModelFailure. It holds no key.

Requests go to `base_url` through the given HTTP client (in production: the vault's unix socket).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
from anthropic import AsyncAnthropic, AsyncStream, Omit
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

STREAMED = b',"stream":true}'  # the end of a body, which is never empty

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
        sdk = PlainClient(base_url, client)
        self._http = client
        self._url = client.build_request("POST", str(sdk.base_url).rstrip("/") + MESSAGES).url
        self._waits = {"timeout": client.timeout.as_dict()}
        self._always = httpx2.Headers({**_plain(sdk.default_headers), "x-stainless-retry-count": "0"})
        if key is not None:
            self._always[key[0]] = key[1]
        self._idle = client.timeout.read or 0.0
        self._capability = capability

    async def close(self) -> None:
        await self._http.aclose()

    async def respond(self, call: ModelCall, on_delta: Callable[[Delta], None]) -> ModelReply:
        """Stream one request to its end. Raises ModelFailure. Cancelling closes the connection."""
        encoded = call.encoded or msgspec.json.encode(call.body)
        body = encoded[:-1] + STREAMED
        builder = ReplyBuilder(on_delta)
        response = await self._send(body, await self._headers(call))
        try:
            if not response.is_success:
                raise await _refused(response)
            await self._read(response, builder)
        except httpx2.TransportError as error:
            raise failures.from_transport(error, self._idle) from error
        except UnicodeDecodeError as error:
            raise _no_event() from error
        finally:
            await response.aclose()
        return builder.reply()

    async def _send(self, body: bytes, headers: httpx2.Headers) -> httpx2.Response:
        """With the official client's address and headers, past its request building: the body is wire JSON already, it
        is sent once, and what the client does on the way would take as long as all the rest of it."""
        request = httpx2.Request("POST", self._url, headers=headers, content=body, extensions=self._waits)
        try:
            return await self._http.send(request, stream=True)
        except httpx2.TimeoutException as error:
            raise failures.too_slow(self._idle) from error
        except httpx2.RequestError as error:
            raise failures.unreachable(error) from error

    async def _headers(self, call: ModelCall) -> httpx2.Headers:
        headers = self._always.copy()
        headers[ENDPOINT_HEADER] = call.endpoint
        if call.body.get("speed") == "fast":
            headers["anthropic-beta"] = FAST_MODE
        if self._capability is not None:
            headers[CAPABILITY_HEADER] = await self._capability(call)
        return headers

    async def _read(self, response: httpx2.Response, builder: ReplyBuilder) -> None:
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise ModelFailure(
                f"The model's server does not stream: it answered with {kind or 'no content type'}.",
                kind=failures.FAILED,
                retryable=False,
            )
        async with aclosing(cast(Events, AsyncStream.raw_events(response))) as events:
            async for sse in events:
                if sse.event == "error":
                    raise failures.from_event(_decode(sse.data))
                if sse.data and sse.event != "ping":
                    builder.take(_event(sse.data))
                if builder.finished:
                    return await _drain(events)


async def _refused(response: httpx2.Response) -> ModelFailure:
    body = await response.aread()
    try:
        told: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = response.text.strip()
    return failures.from_response(response.status_code, told, response.headers)


def _plain(headers: Mapping[str, str | Omit]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if isinstance(value, str)}


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
