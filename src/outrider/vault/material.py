"""The content of a stored secret: reading it, and what a change makes of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

Material = dict[str, Any]

PLAIN = ("token", "access_token", "secret_value", "expires_at", "url", "signing_secret")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def pack(material: Mapping[str, Any]) -> bytes:
    return _encode(dict(material))


def unpack(secret: bytes) -> Material:
    return _decode(secret)


def merged(before: Material, changes: Mapping[str, Any]) -> Material:
    """The material after an update: what is named is replaced, the rest stays."""
    after = dict(before)
    after |= {name: changes[name] for name in PLAIN if name in changes}
    refresh = changes.get("refresh")
    if refresh and before.get("refresh"):
        after["refresh"] = _refresh(before["refresh"], refresh)
    return after


def _refresh(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Material:
    after = dict(before)
    after |= {name: changes[name] for name in ("refresh_token", "scope") if name in changes}
    if "client_secret" in changes:
        after["token_endpoint_auth"] = {**before["token_endpoint_auth"], "client_secret": changes["client_secret"]}
    return after


def words(material: Mapping[str, Any]) -> list[str]:
    """All secret strings in it, for taking them out of what is shown."""
    found = [material.get(name) for name in ("token", "access_token", "secret_value", "signing_secret")]
    refresh = cast("dict[str, Any]", material.get("refresh") or {})
    found += [refresh.get("refresh_token"), refresh.get("token_endpoint_auth", {}).get("client_secret")]
    return sorted((word for word in found if isinstance(word, str) and word), key=len, reverse=True)
