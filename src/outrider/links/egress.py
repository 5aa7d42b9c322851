"""The egress proxy's message on the vault's socket, and its client."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec

from outrider.errors import Fenced, NotDeclared, Overloaded
from outrider.links.refusals import REFUSAL_HEADER, REFUSED_DECLARATION
from outrider.ports.egress import Asked, EgressClaim, EgressCredential

PATH = "/egress"
RECORD = "/egress/"
REQUESTS = "requests"
READ_SECONDS = 30.0


class EgressLink:
    """Implements `Egress` over a client of the vault's socket, which belongs to the caller."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        """The vault judges each request by itself, and none of the credentials beforehand."""
        try:
            response = await self._client.post(PATH, content=msgspec.json.encode(claim))
        except httpx2.RequestError as error:
            raise Overloaded(f"The vault does not answer ({type(error).__name__}).", retry_after=1) from error
        if response.status_code == 409:
            raise Fenced(f"Session {claim.session} has a newer owner than epoch {claim.epoch}.")
        if response.headers.get(REFUSAL_HEADER) == REFUSED_DECLARATION:
            raise NotDeclared(response.json()["error"]["message"])
        if response.status_code not in (200, 404):  # 404: no sandbox has a way out there
            raise Overloaded(f"The vault refused a claim to the network ({response.status_code}).")
        return ()

    async def requests(self, asked: Asked) -> list[dict[str, Any]]:
        """As `Requests`."""
        content = msgspec.json.encode(asked)
        try:
            response = await self._client.post(RECORD + REQUESTS, content=content, timeout=READ_SECONDS)
        except httpx2.RequestError as error:
            raise Overloaded(f"The vault does not answer ({type(error).__name__}).", retry_after=1) from error
        if response.status_code != 200:
            raise Overloaded(f"The vault refused to show a session's requests ({response.status_code}).")
        found: list[dict[str, Any]] = response.json()["data"]
        return found
