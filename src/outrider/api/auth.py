"""What a request's headers say: the key in either of two headers, and the beta that its route belongs to."""

from __future__ import annotations

from starlette.datastructures import Headers

from outrider.errors import AuthenticationFailed, NotFound

BETA = "managed-agents-2026-04-01"


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
