"""The declarations' messages on the vault's socket, and the client of those who make sessions."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx2
import msgspec

from outrider.errors import Conflict, Internal, Overloaded
from outrider.ports.declarations import Declaration
from outrider.ports.log import SessionKey

SESSIONS = "/sessions/"


class Declare(msgspec.Struct, forbid_unknown_fields=True):
    """POST /sessions/declare"""

    declaration: Declaration


class Withdraw(msgspec.Struct, forbid_unknown_fields=True):
    """POST /sessions/withdraw"""

    workspace: str
    session: str


class DeclarationsLink:
    """Implements `Declarations` over a client of the vault's socket, which belongs to the caller."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def declare(self, declaration: Declaration) -> None:
        await self._post("declare", Declare(declaration))

    async def withdraw(self, key: SessionKey) -> None:
        await self._post("withdraw", asdict(key))

    async def declared(self) -> set[SessionKey]:
        return set(msgspec.json.decode(await self._post("declared", {}), type=list[SessionKey]))

    async def _post(self, what: str, message: Any) -> bytes:
        try:
            answer = await self._client.post(f"{SESSIONS}{what}", content=msgspec.json.encode(message))
        except httpx2.RequestError as error:
            raise Overloaded(f"The vault does not answer ({type(error).__name__}); try again.", retry_after=1) from None
        if answer.status_code == 200:
            return answer.content
        if answer.status_code == 409:
            raise Conflict(answer.json()["error"]["message"])
        if answer.status_code in (503, 529):
            raise Overloaded("The vault can't use its key at the moment; try again.", retry_after=1)
        raise Internal(f"The vault refused {what} with {answer.status_code}.")
