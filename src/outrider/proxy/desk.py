"""Where the API hands secrets in: stores, changes, erases and counts them, and tries them out. Gives none back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from outrider.errors import InvalidRequest, KeyUnavailable, NotFound, Overloaded
from outrider.links.secrets import Copy, Forget, Patch, Purge, Put, Send, Validate
from outrider.ports.secrets import Notice, lends
from outrider.ports.vaults import SecretRef
from outrider.ports.webhooks import Sent
from outrider.proxy import probe
from outrider.proxy.credentials import Credentials
from outrider.proxy.outside import Outside
from outrider.proxy.webhooks import Webhooks
from outrider.vault import material
from outrider.vault.envelope import Owner
from outrider.vault.secrets import DECLARED

NOTICES = 100
T = TypeVar("T")


def owner_of(ref: SecretRef) -> Owner:
    """Raises InvalidRequest for the place where declarations lie, which has a way in of its own."""
    if ref.vault == DECLARED:
        raise InvalidRequest("Not the name of a vault.")
    return Owner(ref.workspace, ref.vault, ref.credential, ref.version)


class Desk:
    def __init__(self, credentials: Credentials, outside: Outside, webhooks: Webhooks) -> None:
        self._credentials = credentials
        self._webhooks = webhooks
        self._store = credentials.store
        self._outside = outside
        self._handlers: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "put": self._put,
            "patch": self._patch,
            "copy": self._copy,
            "purge": self._purge,
            "held": self._held,
            "notices": self._notices,
            "forget": self._forget,
            "validate": self._validate,
            "send": self._send,
        }

    async def answer(self, what: str, body: bytes) -> bytes:
        """Raises OutriderError."""
        if what not in self._handlers:
            raise NotFound(f"The vault has no /secrets/{what}.")
        try:
            return msgspec.json.encode(await self._handlers[what](body))
        except KeyUnavailable as error:
            raise Overloaded(error.message, retry_after=1) from None

    async def _put(self, body: bytes) -> dict[str, Any]:
        asked = read(body, Put)
        await self._store.put(owner_of(asked.ref), material.pack(asked.secret))
        return {}

    async def _patch(self, body: bytes) -> dict[str, Any]:
        asked = read(body, Patch)
        owner = owner_of(asked.ref)
        async with self._store.alone_with(owner.workspace, owner.vault, owner.credential):
            before = Owner(owner.workspace, owner.vault, owner.credential, asked.before)
            found = await self._credentials.open(before)
            await self._store.put(owner, material.pack(material.merged(found, asked.changes)))
        return {}

    async def _copy(self, body: bytes) -> dict[str, Any]:
        asked = read(body, Copy)
        if not lends(asked.source, asked.to):
            raise InvalidRequest("Only a deployment's secret can be copied, to a session of its workspace.")
        await self._store.put(owner_of(asked.to), await self._store.get(owner_of(asked.source)))
        return {}

    async def _purge(self, body: bytes) -> dict[str, Any]:
        asked = read(body, Purge)
        await self._store.purge(owner_of(asked.ref), older=asked.older)
        return {}

    async def _held(self, body: bytes) -> list[SecretRef]:
        return [SecretRef(*row) for row in self._store.refs()]

    async def _notices(self, body: bytes) -> list[Notice]:
        return [Notice(row[0], SecretRef(*row[1:5]), *row[5:]) for row in self._store.notices(NOTICES)]

    async def _forget(self, body: bytes) -> dict[str, Any]:
        await self._store.forget_notices(read(body, Forget).up_to)
        return {}

    async def _validate(self, body: bytes) -> dict[str, Any]:
        return await probe.validate(self._credentials, owner_of(read(body, Validate).ref), self._outside)

    async def _send(self, body: bytes) -> Sent:
        asked = read(body, Send)
        return await self._webhooks.send(owner_of(asked.ref), asked.event, asked.payload)


def read(body: bytes, kind: type[T]) -> T:
    """Never shows what is in the body."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError:
        raise InvalidRequest("Not such a request to the vault.") from None
