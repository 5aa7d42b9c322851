"""The message by which the vault is asked to read a repository, and its client."""

from __future__ import annotations

import asyncio

import httpx2
import msgspec

from outrider.errors import Fenced
from outrider.ports.repositories import CLONE, READ_SECONDS, Reading, ReadRequest

PATH = "/repositories/read"
PAUSE = 0.2


class RepositoriesLink:
    """Over a client of the vault's socket, which belongs to the caller."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def read(self, request: ReadRequest) -> Reading:
        """A vault that is started again meanwhile is asked again, within the time. Raises Fenced."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                while True:
                    answer = await self._ask(request)
                    if answer is not None:
                        return answer
                    await asyncio.sleep(PAUSE)
        except TimeoutError:
            return Reading()  # without skills; the checkout tells whether it can be had at all

    async def _ask(self, request: ReadRequest) -> Reading | None:
        try:
            response = await self._client.post(PATH, content=msgspec.json.encode(request), timeout=READ_SECONDS)
        except httpx2.RequestError:
            return None
        if response.status_code == 409:
            raise Fenced(f"Session {request.session} has a newer owner than epoch {request.epoch}.")
        if response.status_code != 200:
            message = f"{request.repository.url}: the vault refused to read it ({response.status_code})."
            return Reading(error=CLONE, message=message)
        return msgspec.json.decode(response.content, type=Reading)
