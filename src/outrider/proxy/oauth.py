"""The refresh of an OAuth access token at its token endpoint (RFC 6749 section 6, RFC 8707), one attempt.

Owns the request and what its answer means; storing is the caller's. The endpoint is the credential's own; redirects are
not followed, since the request carries secrets.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast
from urllib.parse import quote_plus

import httpx2

from outrider.clock import rfc3339
from outrider.proxy.http import Seen, read_capped
from outrider.proxy.outside import Outside

DEADLINE = 30.0
LONGEST_LIFETIME = 10  # digits of seconds


@dataclass(frozen=True, slots=True)
class Refreshed:
    """`outcome`: `succeeded`, `refused` (the grant is gone), `failed` (another error answer), `connect_error`.
    `fields` is what the answer changes in the material."""

    outcome: Literal["succeeded", "refused", "failed", "connect_error"]
    fields: dict[str, Any]
    seen: Seen | None


async def refresh(material: Mapping[str, Any], outside: Outside) -> Refreshed:
    """Ask for a new access token. The material must have `refresh`."""
    told = material["refresh"]
    form, headers = _request(told)
    try:
        async with asyncio.timeout(DEADLINE), outside.client(DEADLINE) as client:
            async with client.stream("POST", told["token_endpoint"], data=form, headers=headers) as answer:
                seen = await read_capped(answer)
    except (httpx2.RequestError, TimeoutError):
        return Refreshed("connect_error", {}, None)
    except httpx2.InvalidURL:
        return Refreshed("connect_error", {}, None)
    return _read(seen, told)


def _request(told: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    form = {"grant_type": "refresh_token", "refresh_token": told["refresh_token"]}
    form |= {name: told[name] for name in ("scope", "resource") if told.get(name)}
    headers = {"accept": "application/json"}
    method = told["token_endpoint_auth"]
    if method["type"] == "client_secret_basic":
        pair = f"{quote_plus(told['client_id'])}:{quote_plus(method['client_secret'])}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return form, headers
    form["client_id"] = told["client_id"]
    if method["type"] == "client_secret_post":
        form["client_secret"] = method["client_secret"]
    return form, headers


def _read(seen: Seen, told: Mapping[str, Any]) -> Refreshed:
    document = seen.json()
    token = document.get("access_token")
    if seen.status == 200 and isinstance(token, str) and token.isascii() and token.isprintable() and token:
        return Refreshed("succeeded", _fields(document, token, told), seen)
    refused = 400 <= seen.status < 500 and seen.status not in (408, 429)
    return Refreshed("refused" if refused else "failed", {}, seen)


def _fields(document: Mapping[str, Any], token: str, told: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"access_token": token, "expires_at": _expiry(document.get("expires_in"))}
    rotated = document.get("refresh_token")
    if isinstance(rotated, str) and rotated and rotated != told["refresh_token"]:
        fields["refresh"] = {"refresh_token": rotated}
    return fields


def _expiry(seconds: object) -> str | None:
    if isinstance(seconds, str) and seconds.isdecimal() and len(seconds) <= LONGEST_LIFETIME:
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 10**9:
        return None
    return rfc3339(datetime.now(UTC) + timedelta(seconds=float(cast("float", seconds))))
