"""Where sessions are declared to the vault, and what a harness asks in a session's name is held against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import msgspec

from outrider.errors import KeyUnavailable, NotDeclared, NotFound, Overloaded
from outrider.links.declarations import Declare, Withdraw
from outrider.ports.declarations import Declaration
from outrider.ports.egress import EgressClaim, EgressRepository
from outrider.ports.log import SessionKey
from outrider.ports.repositories import Reading, ReadRequest
from outrider.proxy.desk import read
from outrider.vault.declarations import Declarations

Read = Callable[[ReadRequest], Awaitable[Reading]]


class Declared:
    """`held` is the vault's own store of declarations."""

    def __init__(self, held: Declarations) -> None:
        self.held = held
        self._handlers: dict[str, Callable[[bytes], Awaitable[Any]]] = {
            "declare": self._declare,
            "withdraw": self._withdraw,
            "declared": self._declared,
        }

    async def answer(self, what: str, body: bytes) -> bytes:
        """Raises OutriderError."""
        if what not in self._handlers:
            raise NotFound(f"The vault has no /sessions/{what}.")
        try:
            return msgspec.json.encode(await self._handlers[what](body))
        except KeyUnavailable as error:
            raise Overloaded(error.message, retry_after=1) from None

    async def _declare(self, body: bytes) -> dict[str, Any]:
        await self.held.declare(read(body, Declare).declaration)
        return {}

    async def _withdraw(self, body: bytes) -> dict[str, Any]:
        asked = read(body, Withdraw)
        await self.held.withdraw(SessionKey(asked.workspace, asked.session))
        return {}

    async def _declared(self, body: bytes) -> list[SessionKey]:
        return self.held.all()

    def bounding(self, settle: Callable[[EgressClaim], None]) -> Callable[[EgressClaim], Awaitable[None]]:
        """Settles what is left of a claim; see `bounded`."""

        async def bounded(claim: EgressClaim) -> None:
            settle(await self.bounded(claim))

        return bounded

    def reading(self, read: Read) -> Read:
        """Reads only what the session has declared."""

        async def bounded(request: ReadRequest) -> Reading:
            said = await self.held.of(SessionKey(request.workspace, request.session))
            _check_repositories(said, (request.repository,))
            return await read(request)

        return bounded

    async def bounded(self, claim: EgressClaim) -> EgressClaim:
        """The claim with the networking that the session has declared. Raises NotDeclared for credentials that it may
        not use, KeyUnavailable."""
        said = await self.held.find(SessionKey(claim.workspace, claim.session))
        if said is None:
            if claim.credentials or claim.mcp_hosts or claim.repositories:
                raise NotDeclared(f"Session {claim.session} has declared nothing.")
            return claim
        _check_credentials(said, claim)
        _check_repositories(said, claim.repositories)
        return replace(claim, networking=said.networking, mcp_hosts=said.server_hosts)


def _check_repositories(said: Declaration, claimed: Iterable[EgressRepository]) -> None:
    for one in claimed:
        if said.repository(one.resource).url != one.url:
            raise NotDeclared(f"Session {said.session} has declared repository {one.resource} at another address.")


def _check_credentials(said: Declaration, claim: EgressClaim) -> None:
    for one in claim.credentials:
        said.check_vault(one.workspace, one.vault)
