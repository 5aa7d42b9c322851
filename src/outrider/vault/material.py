"""The content of a stored secret: reading it, and what a change makes of it. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus

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


def disguised(material: Mapping[str, Any]) -> list[str]:
    """`words`, and each as a server may give it back: as a form, a JSON string or base64 has it, and within the pair
    that basic authentication sends."""
    found = words(material)
    refresh = cast("dict[str, Any]", material.get("refresh") or {})
    secret = refresh.get("token_endpoint_auth", {}).get("client_secret")
    pairs = {f"{form(refresh['client_id'])}:{form(secret)}" for form in (str, quote_plus)} if secret else set[str]()
    return sorted({form for word in found for form in _forms(word)} | set(map(_base64, pairs)), key=len, reverse=True)


def _forms(word: str) -> set[str]:
    escaped = {json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]}
    escaped |= {form.replace("/", "\\/") for form in escaped}  # as PHP writes them
    return {word, quote(word, safe=""), quote_plus(word), _base64(word), *escaped}


def _base64(word: str) -> str:
    return base64.b64encode(word.encode()).decode().rstrip("=")
