"""The doorbell within one process; the waiting part of every other one too."""

from __future__ import annotations

import asyncio


class LocalDoorbell:
    """Implements the `Doorbell` port for one event loop. Rings between two waits are folded into one; those that come
    while there is no room are kept until there is."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._rung = False
        self._roomy = False

    def ring(self) -> None:
        self._rung = True
        self._news.set()

    def recheck(self) -> None:
        self._roomy = True
        self._news.set()

    async def wait(self, timeout: float, *, room: bool = True) -> None:
        try:
            async with asyncio.timeout(timeout):
                while not (self._roomy or (room and self._rung)):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._roomy = False
            self._rung = self._rung and not room
