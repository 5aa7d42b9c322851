"""What an outside server answered, as far as it is kept: bounded, and without the secrets that were sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import msgspec

LONGEST_BODY = 64 * 1024  # bytes that are read at all
LONGEST_SHOWN = 4096  # characters that are shown


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer. `whole` is False when the body was longer than what is here."""

    status: int
    content_type: str | None
    body: bytes
    whole: bool

    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            document: Any = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return cast("dict[str, Any]", document) if isinstance(document, dict) else {}

    def shown(self, secrets: Iterable[str]) -> dict[str, Any]:
        """As the validation probe shows it, with `secrets` taken out, of two that overlap the longer one."""
        text, kind = self.body.decode(errors="replace"), self.content_type or ""
        for secret in sorted(secrets, key=len, reverse=True):
            text, kind = text.replace(secret, "*" * 8), kind.replace(secret, "*" * 8)
        return {
            "status_code": self.status,
            "content_type": kind,
            "body": text[:LONGEST_SHOWN],
            "body_truncated": not self.whole or len(text) > LONGEST_SHOWN,
        }


async def read_capped(answer: httpx2.Response, limit: int = LONGEST_BODY) -> Seen:
    """Read at most `limit` bytes of a streamed answer."""
    body = b""
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > limit:
            break
    kind = answer.headers.get("content-type")
    return Seen(answer.status_code, kind, body[:limit], len(body) <= limit)
