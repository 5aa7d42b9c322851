"""Capabilities: signed statements that a session's owner may use some upstreams, for a minute.

Promised: a capability is good only for what it names, until it expires, and not after a newer epoch was seen for its
session, by this process or by one before it (see `epochs`). All capabilities end with the process that signed them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass

from outrider.errors import AuthenticationFailed, Conflict, PermissionDenied
from outrider.links.vault import CAPABILITY_SECONDS
from outrider.vault.epochs import Epochs

LIFETIME = CAPABILITY_SECONDS
_SIGNATURE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a capability and what for. `expires` is on the vault's monotonic clock."""

    session: str
    epoch: int
    upstreams: tuple[str, ...]
    expires: float


def encode(claim: Claim, key: bytes) -> str:
    body = json.dumps([claim.session, claim.epoch, claim.upstreams, claim.expires]).encode()
    return base64.urlsafe_b64encode(_sign(body, key) + body).decode()


def decode(token: str, key: bytes) -> Claim | None:
    """None for whatever `encode` with this key did not make."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(body, key)):
        return None
    session, epoch, upstreams, expires = json.loads(body)
    return Claim(session, epoch, tuple(upstreams), expires)


def _sign(body: bytes, key: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)


class Capabilities:
    """Mints and checks. `key` is random and as old as the process; `monotonic` gives seconds."""

    def __init__(
        self, key: bytes, monotonic: Callable[[], float], upstreams: frozenset[str], epochs: Epochs | None = None
    ) -> None:
        self._key = key
        self._monotonic = monotonic
        self._upstreams = upstreams
        self._epochs = epochs or Epochs()

    def mint(self, session: str, epoch: int, upstreams: tuple[str, ...]) -> str:
        """Raises PermissionDenied for an upstream that is not configured, Conflict for an epoch that is over."""
        unknown = sorted(set(upstreams) - self._upstreams)
        if unknown:
            raise PermissionDenied(f"No upstream is called {unknown[0]}.")
        self._see(session, epoch)
        return encode(Claim(session, epoch, upstreams, self._monotonic() + LIFETIME), self._key)

    def check(self, token: str, upstream: str) -> Claim:
        """Raises AuthenticationFailed (unknown or expired), PermissionDenied (not for this upstream), Conflict."""
        claim = decode(token, self._key)
        if claim is None or claim.expires <= self._monotonic():
            raise AuthenticationFailed("The capability is unknown or has expired.")
        if upstream not in claim.upstreams:
            raise PermissionDenied(f"The capability is not for upstream {upstream}.")
        self._see(claim.session, claim.epoch)
        return claim

    def see(self, session: str, epoch: int) -> None:
        """Note that this epoch's owner has spoken. Raises Conflict for an epoch that is over."""
        self._see(session, epoch)

    def _see(self, session: str, epoch: int) -> None:
        if not self._epochs.see(session, epoch):
            raise Conflict(f"Session {session} has a newer owner than epoch {epoch}.")
