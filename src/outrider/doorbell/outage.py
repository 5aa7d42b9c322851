"""One line in the log when a connection is lost, one when it is back, and growing pauses between tries."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
FIRST_TRY_SECONDS = 5.0


class Outage:
    """`where` names the server for the operator: without credentials. `meanwhile` says what the loss costs."""

    def __init__(self, log: logging.Logger, where: str, meanwhile: str) -> None:
        self._log = log
        self._where = where
        self._meanwhile = meanwhile
        self._tries = 0
        self._tried = asyncio.Event()

    async def tried(self) -> None:
        """Wait until the first try has succeeded or failed, for `FIRST_TRY_SECONDS` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_TRY_SECONDS):
                await self._tried.wait()

    def goes_on(self, error: BaseException | str) -> float:
        """Say so if it is new; the seconds to wait before the next try."""
        self._tried.set()
        if self._tries == 0:
            said = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
            self._log.warning("%s is out of reach (%s); meanwhile %s", self._where, said, self._meanwhile)
        pause = min(FIRST_PAUSE * 2 ** min(self._tries, 10), LONGEST_PAUSE)
        self._tries += 1
        return pause * (0.75 + random.random() / 2)

    def ends(self) -> None:
        self._tried.set()
        if self._tries:
            self._log.warning("%s is back", self._where)
        self._tries = 0
