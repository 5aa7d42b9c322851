"""The way to the vault: the messages of its socket, and the client that the harness uses.

A capability is cached until half its life. Not promised: that the vault answers; it may be starting again, and then
connections wait in its socket's queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec

from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.errors import Fenced, InvalidRequest, ModelFailure

REFUSAL_HEADER = "x-outrider-refusal"
"""Set by the vault on its own refusals; its value is one of the two below, or `other`."""
REFUSED_CAPABILITY = "capability"
REFUSED_EPOCH = "epoch"

BASE_URL = "http://vault"
DEADLINE = 10.0
STREAM_IDLE = 600.0  # the vault's own, shorter wait ends a silent upstream; this one is for a silent vault
MOST_CONNECTIONS = 1000
KEEP_ALIVE = 240.0


class CapabilityRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What `POST /capabilities` takes."""

    session: str
    epoch: int
    upstreams: list[str]


class CapabilityAnswer(msgspec.Struct):
    """What it gives: the capability and its life in seconds."""

    capability: str
    expires_in: float


_Key = tuple[str, int, str]


class VaultLink:
    """Capabilities and a transport over the vault's unix socket. One per process; `close` it at the end."""

    def __init__(self, socket: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._socket = socket
        self._monotonic = monotonic
        self._minter = httpx2.AsyncClient(transport=self._connections(), base_url=BASE_URL, timeout=DEADLINE)
        self._cached: dict[_Key, tuple[str, float]] = {}
        self._claims: dict[str, _Key] = {}

    async def __aenter__(self) -> VaultLink:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._minter.aclose()

    def transport(self) -> httpx2.AsyncBaseTransport:
        """For a Messages client of the caller's own. Each request names its endpoint in `ENDPOINT_HEADER` and carries
        a capability for it in `CAPABILITY_HEADER`; scheme and host of its URL don't matter.

        A capability that the vault no longer knows (it was started again) is renewed once, unseen by the caller; such
        a request had not left the host.
        """
        return _Renewing(self._connections(), self)

    def _connections(self) -> httpx2.AsyncHTTPTransport:
        limits = httpx2.Limits(
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE,
        )
        return httpx2.AsyncHTTPTransport(uds=str(self._socket), limits=limits, trust_env=False, verify=False)

    async def capability(self, session: str, epoch: int, endpoint: str) -> str:
        """Raises Fenced (a newer owner was seen), InvalidRequest (no such endpoint), ModelFailure (no vault)."""
        key = (session, epoch, endpoint)
        found = self._cached.get(key)
        if found is not None and self._monotonic() < found[1]:
            return found[0]
        answer = await self._mint(CapabilityRequest(session, epoch, [endpoint]))
        self._forget_old()
        self._cached[key] = (answer.capability, self._monotonic() + answer.expires_in / 2)
        self._claims[answer.capability] = key
        return answer.capability

    async def renewed(self, capability: str) -> str | None:
        """Another capability for the same claim; None if this one is not ours."""
        key = self._claims.pop(capability, None)
        if key is None:
            return None
        if self._cached.get(key, ("", 0.0))[0] == capability:
            del self._cached[key]
        return await self.capability(*key)

    async def _mint(self, request: CapabilityRequest) -> CapabilityAnswer:
        try:
            response = await self._minter.post("/capabilities", content=msgspec.json.encode(request))
        except httpx2.RequestError as error:
            raise ModelFailure(
                f"The vault does not answer ({type(error).__name__}).",
                kind="model_request_failed_error",
                retryable=True,
            ) from error
        if response.headers.get(REFUSAL_HEADER) == REFUSED_EPOCH:
            raise Fenced(f"Session {request.session} has a newer owner than epoch {request.epoch}.")
        if response.status_code != 200:
            raise InvalidRequest(f"The vault refused a capability for {', '.join(request.upstreams)}.")
        return msgspec.json.decode(response.content, type=CapabilityAnswer)

    def _forget_old(self) -> None:
        now = self._monotonic()
        old = [key for key, (_, renew_at) in self._cached.items() if renew_at <= now]
        for key in old:
            self._claims.pop(self._cached.pop(key)[0], None)


class _Renewing(httpx2.AsyncBaseTransport):
    def __init__(self, inner: httpx2.AsyncBaseTransport, link: VaultLink) -> None:
        self._inner = inner
        self._link = link

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        endpoint = request.headers.pop(ENDPOINT_HEADER, "")
        request.url = request.url.copy_with(path=f"/model/{endpoint}{request.url.path}")
        response = await self._inner.handle_async_request(request)
        if response.headers.get(REFUSAL_HEADER) != REFUSED_CAPABILITY:
            return response
        if not isinstance(request.stream, httpx2.ByteStream):
            return response
        capability = await self._link.renewed(request.headers.get(CAPABILITY_HEADER, ""))
        if capability is None:
            return response
        await response.aclose()
        request.headers[CAPABILITY_HEADER] = capability
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()
