"""Stored credentials as the proxies use them: opened for one use, refreshed when they have expired, each use on record.

Promised: one refresh at a time for a credential, whoever asks; what it brought is on disk before it is used, and
a rotated refresh token is kept; a grant that was refused is told of once, and not asked about at every use. Not
promised: that a token endpoint which rotates and dies unheard can be asked again, nor that the vault process remembers
refusals when it starts anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from outrider import faults
from outrider.clock import Clock
from outrider.proxy import oauth
from outrider.proxy.oauth import Refreshed
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.audit import Audit, Use
from outrider.vault.envelope import Owner
from outrider.vault.secrets import SecretStore

EARLY = timedelta(seconds=15)  # an expiry is another host's, and the request needs time to arrive
REMEMBERED = 10_000
FINAL = frozenset({"invalid_grant", "invalid_client", "unauthorized_client"})  # RFC 6749, section 5.2
REFUSED_FOR = 3600.0
"""Seconds for which a refused grant is not asked about again: it is gone for good, unless its server was wrong."""
DOUBTED_FOR = 60.0
"""The same where the refusal is none of OAuth's own words, so that something else on the way may have said it."""

_Credential = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Who:
    """On whose behalf a credential is used: a session's claim, or an operator's validation (no session)."""

    session: str | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Of what, as a digest of all that goes to the token endpoint, and until when it stands, by the monotonic clock."""

    grant: bytes
    until: float


class Credentials:
    """One for the process."""

    def __init__(self, store: SecretStore, audit: Audit, outside: Outside, clock: Clock) -> None:
        self.store = store
        self._audit = audit
        self._outside = outside
        self._renewing: set[asyncio.Task[Any]] = set()
        self._lifetimes: dict[_Credential, float] = {}
        self._refused: dict[_Credential, _Refusal] = {}
        self._clock = clock

    async def open(self, owner: Owner) -> dict[str, Any]:
        """Raises NotFound, SecretsLocked, KeyUnavailable."""
        return material.unpack(await self.store.get(owner))

    async def latest(self, owner: Owner) -> dict[str, Any]:
        """This version, or the newest there is once that has been replaced. Raises as `open`."""
        if not self.store.holds(owner):
            owner = self.store.newest(owner)
        return await self.open(owner)

    async def token(self, owner: Owner, who: Who) -> dict[str, Any]:
        """The material with an access token that has not expired, as far as that can be known and mended."""
        found = await self.open(owner)
        if found["type"] == "mcp_oauth" and self._expired(owner, found) and found.get("refresh"):
            found, _ = await self.renew(owner, who, found["access_token"])
        return found

    def _expired(self, owner: Owner, found: dict[str, Any]) -> bool:
        """Tokens that live for seconds are used for most of those."""
        expires = found.get("expires_at")
        lifetime = self._lifetimes.get(_name(owner))
        early = EARLY if lifetime is None else min(EARLY, timedelta(seconds=lifetime / 4))
        return expires is not None and datetime.fromisoformat(expires) - early <= datetime.now(UTC)

    async def renew(
        self, owner: Owner, who: Who, stale: str, *, again: bool = False
    ) -> tuple[dict[str, Any], Refreshed | None]:
        """Refresh, unless somebody else has replaced `stale` meanwhile; the material as it is now, and what came of it.

        None: no refresh was needed, or the credential has no refresh token, or one that was refused lately (then only
        `again` asks). Goes on if the asker is cancelled: a token that was rotated must not be lost.
        """
        work = asyncio.create_task(self._renewed(owner, who, stale, again=again))
        self._renewing.add(work)
        work.add_done_callback(self._renewing.discard)
        return await asyncio.shield(work)

    async def _renewed(
        self, owner: Owner, who: Who, stale: str, *, again: bool
    ) -> tuple[dict[str, Any], Refreshed | None]:
        async with self.store.alone_with(*_name(owner)):
            found = await self.open(owner)
            if found["access_token"] != stale or not found.get("refresh"):
                return found, None
            if not again and self._refused_lately(owner, found):
                return found, None
            faults.point("vault.refresh.before")
            came = await oauth.refresh(found, self._outside)
            faults.point("vault.refresh.after")
            self.note(owner, who, found["refresh"]["token_endpoint"], came.outcome, "oauth.refresh")
            if came.outcome == "succeeded":
                self._refused.pop(_name(owner), None)
                found = material.merged(found, came.fields)
                self._lived(owner, found)
                await self.store.put(owner, material.pack(found), notice=self._notice("refreshed", found))
            elif came.outcome == "refused":
                await self._refuse(owner, found, came)
            return found, came

    async def _refuse(self, owner: Owner, found: dict[str, Any], came: Refreshed) -> None:
        """Tell of it, once for a grant, and remember it."""
        grant, before = _grant(found), self._refused.pop(_name(owner), None)
        if before is None or before.grant != grant:
            await self.store.tell(owner, self._notice("refresh_failed", found))
        final = came.seen is not None and came.seen.json().get("error") in FINAL
        until = self._clock.monotonic() + (REFUSED_FOR if final else DOUBTED_FOR)
        self._refused[_name(owner)] = _Refusal(grant, until)
        if len(self._refused) > REMEMBERED:
            del self._refused[next(iter(self._refused))]

    def _refused_lately(self, owner: Owner, found: dict[str, Any]) -> bool:
        refusal = self._refused.get(_name(owner))
        if refusal is None or self._clock.monotonic() > refusal.until:
            return False
        return refusal.grant == _grant(found)

    def _lived(self, owner: Owner, found: dict[str, Any]) -> None:
        """Remember for how long a new token is good."""
        key, expires = _name(owner), found.get("expires_at")
        self._lifetimes.pop(key, None)
        if expires is not None:
            self._lifetimes[key] = (datetime.fromisoformat(expires) - datetime.now(UTC)).total_seconds()
        if len(self._lifetimes) > REMEMBERED:
            del self._lifetimes[next(iter(self._lifetimes))]

    def _notice(self, kind: str, found: dict[str, Any]) -> dict[str, Any]:
        return {"kind": kind, "at": self._clock.now(), "expires_at": found.get("expires_at")}

    def note(self, owner: Owner, who: Who, upstream: str, outcome: str, action: str) -> None:
        """Put a use on record."""
        self._audit.note(
            Use(owner.credential, upstream, outcome, action, who.session, who.epoch, workspace=owner.workspace)
        )


def _name(owner: Owner) -> _Credential:
    return owner.workspace, owner.vault, owner.credential


def _grant(found: dict[str, Any]) -> bytes:
    """Another once anything of it has changed."""
    return hashlib.sha256(material.pack(found["refresh"])).digest()
