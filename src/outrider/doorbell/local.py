"""The doorbell within one process."""

from __future__ import annotations

import asyncio


class LocalDoorbell:
    """Implements the `Doorbell` port for one event loop. Rings between two waits are folded into one."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()
