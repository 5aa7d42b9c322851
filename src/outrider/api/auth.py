"""Who is asking: server keys by bearer token or `x-api-key`, stored as hashes only."""

from __future__ import annotations

import hashlib

from starlette.datastructures import Headers

from outrider.clock import Clock
from outrider.errors import AuthenticationFailed, NotFound, PermissionDenied
from outrider.ports.records import ApiKey, Records

BETA = "managed-agents-2026-04-01"
CACHE_SECONDS = 1.0
CACHE_SIZE = 1024


def digest(key: str) -> str:
    """The stored form of a key: SHA-256 in hex (keys are random, so a slow hash would add nothing)."""
    return hashlib.sha256(key.encode()).hexdigest()


class Authenticator:
    """Looks keys up, and remembers each for a second so that a burst of requests costs one read."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._seen: dict[str, tuple[float, ApiKey]] = {}

    async def key(self, headers: Headers) -> ApiKey:
        """The caller's key. Raises AuthenticationFailed, and PermissionDenied for another workspace's header."""
        name = digest(presented(headers))
        now = self._clock.monotonic()
        at, key = self._seen.get(name, (0.0, None))
        if key is None or now - at > CACHE_SECONDS:
            key = await self._records.key_by_digest(name)
            if key is None or key.revoked_at is not None:
                raise AuthenticationFailed("invalid API key")
            self._remember(name, now, key)
        workspace = headers.get("anthropic-workspace-id")
        if workspace is not None and workspace != key.workspace:
            raise PermissionDenied(f"This key does not belong to workspace {workspace}.")
        return key

    def _remember(self, name: str, now: float, key: ApiKey) -> None:
        if len(self._seen) >= CACHE_SIZE:
            self._seen.clear()
        self._seen[name] = (now, key)


def presented(headers: Headers) -> str:
    authorization = headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if headers.get("x-api-key"):
        return headers["x-api-key"]
    raise AuthenticationFailed("Give an API key: `Authorization: Bearer <key>` or `x-api-key: <key>`.")


def require_beta(headers: Headers, path: str) -> None:
    """Without the managed-agents beta value the route does not exist. Raises NotFound."""
    betas = {value.strip() for header in headers.getlist("anthropic-beta") for value in header.split(",")}
    if BETA not in betas:
        raise NotFound(f"Not found: {path} needs the header `anthropic-beta: {BETA}`.")
