"""The validation probe: does this `mcp_oauth` credential work on its server? One handshake, at most one refresh.

Answers are shown cut and with every secret of the credential taken out, in the forms that servers give back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import httpx2
import msgspec

from outrider import faults
from outrider.errors import InvalidRequest
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.http import Seen, read_capped
from outrider.proxy.oauth import Refreshed
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.envelope import Owner

DEADLINE = 20.0
PROTOCOL = "2025-06-18"
UNSURE = frozenset({408, 429})

Step = tuple[str, Seen | None]
"""A step that failed: its method, and the answer if there was one."""


async def validate(credentials: Credentials, owner: Owner, outside: Outside) -> dict[str, Any]:
    """`status`, `has_refresh_token`, `mcp_probe`, `refresh`. Raises InvalidRequest, NotFound."""
    found = await credentials.open(owner)
    if found["type"] != "mcp_oauth":
        raise InvalidRequest(f"credential: only mcp_oauth credentials can be validated, not {found['type']}")
    failed = await _try(credentials, owner, found, outside)
    refresh: dict[str, Any] | None = None
    came: Refreshed | None = None
    secrets = material.disguised(found)
    if _unauthorised(failed):
        after, came = await credentials.renew(owner, Who(), found["access_token"], again=True)
        secrets += material.disguised(after)
        refresh = _shown_refresh(found, came, secrets)
        if after["access_token"] != found["access_token"]:
            failed = await _try(credentials, owner, after, outside)
    return {
        "has_refresh_token": bool(found.get("refresh")),
        "mcp_probe": None if failed is None else {"method": failed[0], "http_response": _shown(failed[1], secrets)},
        "refresh": refresh,
        "status": _verdict(failed, came),
    }


def _unauthorised(failed: Step | None) -> bool:
    return failed is not None and failed[1] is not None and failed[1].status == 401


def _shown(seen: Seen | None, secrets: Iterable[str]) -> dict[str, Any] | None:
    return None if seen is None else seen.shown(secrets)


def _shown_refresh(found: dict[str, Any], came: Refreshed | None, secrets: Iterable[str]) -> dict[str, Any] | None:
    if came is None:  # somebody else refreshed it meanwhile, or there is nothing to do it with
        return None if found.get("refresh") else {"status": "no_refresh_token", "http_response": None}
    status = "failed" if came.outcome == "refused" else came.outcome
    shown = None if came.outcome == "succeeded" else _shown(came.seen, secrets)
    return {"status": status, "http_response": shown}


def _verdict(failed: Step | None, came: Refreshed | None) -> str:
    if failed is None:
        return "valid"
    if came is not None and came.outcome in ("failed", "connect_error"):
        return "unknown"
    seen = failed[1]
    sure = seen is not None and 400 <= seen.status < 500 and seen.status not in UNSURE
    return "invalid" if sure else "unknown"


async def _try(credentials: Credentials, owner: Owner, found: dict[str, Any], outside: Outside) -> Step | None:
    url = found["mcp_server_url"]
    async with outside.client(DEADLINE) as client:
        client.headers["authorization"] = f"Bearer {found['access_token']}"
        faults.point("vault.probe.before")
        failed = await _handshake(client, url)
        faults.point("vault.probe.after")
    outcome = "ok" if failed is None else "no answer" if failed[1] is None else str(failed[1].status)
    credentials.note(owner, Who(), url, outcome, "validate")
    return failed


async def _handshake(client: httpx2.AsyncClient, url: str) -> Step | None:
    hello = {
        "protocolVersion": PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "outrider", "version": "0"},
    }
    headers: dict[str, str] = {"mcp-protocol-version": PROTOCOL}
    seen, session = await _ask(client, url, {"id": 1, "method": "initialize", "params": hello}, {})
    if seen is not None and seen.status in (404, 405) and await _is_event_stream(client, url):
        return None  # a server of the older transport, which took the token
    if not _is_answer(seen):
        return "initialize", seen
    if session is not None:
        headers["mcp-session-id"] = session
    await _ask(client, url, {"method": "notifications/initialized"}, headers)
    seen, _ = await _ask(client, url, {"id": 2, "method": "tools/list"}, headers)
    return None if _is_answer(seen) else ("tools/list", seen)


async def _ask(
    client: httpx2.AsyncClient, url: str, message: dict[str, Any], headers: dict[str, str]
) -> tuple[Seen | None, str | None]:
    """The answer (None: there was none in time), and the session id that it gave."""
    accepted = {"accept": "application/json, text/event-stream", **headers}
    try:
        async with asyncio.timeout(DEADLINE):
            async with client.stream("POST", url, json={"jsonrpc": "2.0", **message}, headers=accepted) as answer:
                return await read_capped(answer), answer.headers.get("mcp-session-id")
    except (httpx2.RequestError, httpx2.InvalidURL, TimeoutError):
        return None, None


def _is_answer(seen: Seen | None) -> bool:
    """Whether it is a JSON-RPC result, plain or as one event."""
    if seen is None or seen.status != 200:
        return False
    if not (seen.content_type or "").startswith("text/event-stream"):
        return "result" in seen.json()
    data = [line.removeprefix(b"data:") for line in seen.body.splitlines() if line.startswith(b"data:")]
    return any("result" in _object(one) for one in data)


def _object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}


async def _is_event_stream(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        async with asyncio.timeout(DEADLINE):
            async with client.stream("GET", url, headers={"accept": "text/event-stream"}) as answer:
                kind = answer.headers.get("content-type", "")
                return answer.status_code == 200 and kind.startswith("text/event-stream")
    except (httpx2.RequestError, TimeoutError):
        return False
