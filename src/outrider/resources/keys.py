"""Rules of server keys and workspaces: what a request for a key may ask, how a key is made, and how it is shown."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import msgspec

from outrider.endpoints import OUR_KEYS_BEGIN
from outrider.errors import InvalidRequest
from outrider.ports.access import ApiKey, Scope

LONGEST_NAME = 128
RANDOM_BYTES = 32


class KeyRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request for a key. `environment_id` goes with the scope `environment`, and with no other."""

    name: str
    scope: Scope
    environment_id: str | None = None


def key_request(body: bytes) -> KeyRequest:
    """Raises InvalidRequest."""
    try:
        request = msgspec.json.decode(body, type=KeyRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is no request for a key: {error}.") from error
    return checked(request)


def checked(request: KeyRequest) -> KeyRequest:
    checked_name(request.name)
    if (request.scope == "environment") != (request.environment_id is not None):
        raise InvalidRequest("environment_id: goes with the scope `environment`, and with no other")
    if not (request.environment_id or "").isprintable():
        raise InvalidRequest("environment_id: must be the id of an environment")
    return request


def checked_name(name: str) -> str:
    """Of a key or a workspace: what can be read in a line."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidRequest(f"name: must have 1 to {LONGEST_NAME} printable characters")
    return name


def digest(value: str) -> str:
    """The stored form of a key: SHA-256 in hex (keys are random, so a slow hash would add nothing)."""
    return hashlib.sha256(value.encode()).hexdigest()


def new_value() -> str:
    """A new key's value, which is shown once and kept nowhere."""
    return OUR_KEYS_BEGIN + secrets.token_urlsafe(RANDOM_BYTES)


def new_key(request: KeyRequest, value: str, *, id: str, workspace: str, now: str) -> ApiKey:
    return ApiKey(id, workspace, digest(value), request.name, request.scope, now, environment=request.environment_id)


def key_object(key: ApiKey) -> dict[str, Any]:
    """A key as our API shows it: never its value, nor the digest."""
    return {
        "id": key.id,
        "type": "api_key",
        "name": key.name,
        "scope": key.scope,
        "environment_id": key.environment,
        "workspace_id": key.workspace,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }
