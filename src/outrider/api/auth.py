"""What a request's headers say: the key in either of two headers, and the beta that its route belongs to."""

from __future__ import annotations

from starlette.datastructures import Headers

from outrider.errors import AuthenticationFailed, InvalidRequest, NotFound

BETA = "managed-agents-2026-04-01"
MANAGED_AGENTS = frozenset({BETA})
MEMORY = frozenset({BETA, "agent-memory-2026-07-22"})
DREAMS = frozenset({"dreaming-2026-04-21"})
NO_BETA = frozenset[str]()
"""Which beta values a route goes by: its own, or none."""


def presented(headers: Headers) -> str:
    authorization = headers.get("authorization", "")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if headers.get("x-api-key"):
        return headers["x-api-key"]
    raise AuthenticationFailed("Give an API key: `Authorization: Bearer <key>` or `x-api-key: <key>`.")


def require_beta(headers: Headers, path: str, accepted: frozenset[str]) -> None:
    """Without one of these beta values the route does not exist, and two of them contradict each other.

    Raises NotFound, InvalidRequest.
    """
    betas = {value.strip() for header in headers.getlist("anthropic-beta") for value in header.split(",")}
    given = betas & accepted
    if not given:
        raise NotFound(f"Not found: {path} needs the header `anthropic-beta: {min(accepted, key=len)}`.")
    if len(given) > 1:
        raise InvalidRequest(f"anthropic-beta: give one of {' and '.join(sorted(given))}, not both.")
