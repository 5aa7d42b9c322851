"""The way to the vault: the messages of its socket, and the client that the harness uses.

A capability is cached until half its life. Not promised: that the vault answers; it may be starting again, and then
connections wait in its socket's queue.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec

from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.errors import Fenced, InvalidRequest, ModelFailure
from outrider.links.egress import EgressLink
from outrider.links.http1 import Connection
from outrider.links.peers import address, connect_to
from outrider.links.refusals import REFUSAL_HEADER, REFUSED_CAPABILITY, REFUSED_EPOCH
from outrider.links.unix_http import StreamTransport, UnixTransport

BASE_URL = "http://vault"
CLAIM = "claim"
CAPABILITY_SECONDS = 60.0
DEADLINE = 10.0
STREAM_IDLE = 600.0  # the vault's own, shorter wait ends a silent upstream; this one is for a silent vault


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


def claim_text(session: str, epoch: int) -> str:
    """A claim in the place of a capability. The vault believes it from whoever may connect to its socket."""
    return f"{CLAIM} {session} {epoch}"


def read_claim(text: str) -> tuple[str, int] | None:
    """(session, epoch), or None for anything else."""
    match text.split(" "):
        case [word, session, epoch] if word == CLAIM and session and epoch.isdecimal():
            return session, int(epoch)
        case _:
            return None


def vault_at(url: str, context: ssl.SSLContext) -> Callable[[], httpx2.AsyncBaseTransport]:
    """Transports to a vault elsewhere, which must show a certificate for the role vault and the URL's host."""
    host, port = address(url, "OUTRIDER_VAULT_URL")

    async def connect(make: Callable[[], Connection]) -> Connection:
        _, _, connection = await connect_to(host, port, context, "vault", make)
        return connection

    return lambda: StreamTransport(f"the vault at {host}:{port}", connect)


class VaultLink:
    """Capabilities and a transport to the vault: over its unix socket, or to one elsewhere (see `vault_at`). One per
    process; `close` it at the end."""

    def __init__(
        self, vault: Path | Callable[[], httpx2.AsyncBaseTransport], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = (lambda: UnixTransport(vault)) if isinstance(vault, Path) else vault
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

    def client(self) -> httpx2.AsyncClient:
        """For longer asks of other links to the vault, over connections of its own; the caller closes it."""
        return httpx2.AsyncClient(transport=self._connections(), base_url=BASE_URL, timeout=DEADLINE)

    def asks(self) -> httpx2.AsyncClient:
        """For small requests of other links to the vault. It is closed with this link."""
        return self._minter

    async def answers(self) -> bool:
        """Whether the vault lives and answers. The caller bounds the wait."""
        try:
            return (await self._minter.get("/healthz")).status_code == 200
        except httpx2.RequestError:
            return False

    async def metrics(self) -> bytes | None:
        """The vault's own metrics as text; None when it gives none. The caller bounds the wait."""
        try:
            response = await self._minter.get("/metrics")
        except httpx2.RequestError:
            return None
        return response.content if response.status_code == 200 else None

    @property
    def egress(self) -> EgressLink:
        """For saying what sessions' sandboxes may reach."""
        return EgressLink(self._minter)

    def transport(self) -> httpx2.AsyncBaseTransport:
        """For a Messages client of the caller's own. Each request names its endpoint in `ENDPOINT_HEADER` and carries
        what `presented` gave in `CAPABILITY_HEADER`; scheme and host of its URL don't matter.

        A capability that the vault no longer knows (it was started again) is renewed once, unseen by the caller; such
        a request had not left the host.
        """
        return _Claiming(self._connections(), self)

    async def capability(self, session: str, epoch: int, endpoint: str) -> str:
        """Raises Fenced (a newer owner was seen), InvalidRequest (no such endpoint), ModelFailure (no vault)."""
        key = (session, epoch, endpoint)
        found = self._fresh(key)
        if found is not None:
            return found
        answer = await self._mint(CapabilityRequest(session, epoch, [endpoint]))
        self._remember(key, answer.capability, answer.expires_in)
        return answer.capability

    def presented(self, session: str, epoch: int, endpoint: str) -> str:
        """What to put into `CAPABILITY_HEADER`: a capability that is at hand, else the claim to one. The vault mints
        it with the first request, which saves a round trip before the model's first token."""
        return self._fresh((session, epoch, endpoint)) or claim_text(session, epoch)

    def claim_behind(self, presented: str) -> str | None:
        """For a capability that the vault no longer knows: the claim to a new one, or None if it isn't ours."""
        key = self._claims.pop(presented, None)
        if key is None:
            return None
        if self._cached.get(key, ("", 0.0))[0] == presented:
            del self._cached[key]
        return claim_text(key[0], key[1])

    def keep(self, presented: str, endpoint: str, capability: str) -> None:
        """Remember what a claim, or a renewed capability, was answered with."""
        claim = read_claim(presented)
        if claim is not None:
            self._remember((*claim, endpoint), capability, CAPABILITY_SECONDS)

    def _fresh(self, key: _Key) -> str | None:
        capability, renew_at = self._cached.get(key, ("", 0.0))
        return capability if self._monotonic() < renew_at else None

    def _remember(self, key: _Key, capability: str, expires_in: float) -> None:
        self._forget_old()
        self._cached[key] = (capability, self._monotonic() + expires_in / 2)
        self._claims[capability] = key

    async def _mint(self, request: CapabilityRequest) -> CapabilityAnswer:
        try:
            response = await self._minter.post("/capabilities", content=msgspec.json.encode(request))
        except httpx2.RequestError as error:
            raise ModelFailure(
                f"The vault does not answer ({type(error).__name__}{f': {error}' if str(error) else ''}).",
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


class _Claiming(httpx2.AsyncBaseTransport):
    """Presents a claim where no capability is at hand, and keeps the capability that the answer brings."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, link: VaultLink) -> None:
        self._inner = inner
        self._link = link
        self._places: dict[tuple[str, bytes], httpx2.URL] = {}  # as many as there are endpoints and paths

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        endpoint = request.headers.pop(ENDPOINT_HEADER, "")
        request.url = self._place(endpoint, request.url)
        presented = request.headers.get(CAPABILITY_HEADER, "")
        response = await self._inner.handle_async_request(request)
        if response.headers.get(REFUSAL_HEADER) == REFUSED_CAPABILITY:
            claim = self._link.claim_behind(presented)
            if claim is None:
                return response
            await response.aclose()
            presented = request.headers[CAPABILITY_HEADER] = claim
            response = await self._inner.handle_async_request(request)
        if CAPABILITY_HEADER in response.headers:
            self._link.keep(presented, endpoint, response.headers[CAPABILITY_HEADER])
        return response

    def _place(self, endpoint: str, url: httpx2.URL) -> httpx2.URL:
        asked = (endpoint, url.raw_path)
        if asked not in self._places:
            self._places[asked] = url.copy_with(path=f"/model/{endpoint}{url.path}")
        return self._places[asked]

    async def aclose(self) -> None:
        await self._inner.aclose()
