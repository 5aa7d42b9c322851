"""Whether this process lives, and whether it can take work: for load balancers and whoever restarts things.

Answers say which part fails and never why: no address, no path, no text of an error. Needs no key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from outrider.errors import OutriderError

SECONDS = 2.0
"""How long one part may take to answer. All parts are asked at once."""

log = logging.getLogger("outrider.health")

Check = Callable[[], Awaitable[bool]]


class Readiness:
    """`needed`: parts without which no work can be taken on. `told`: parts whose state is told, no more.

    Requests that come at once share one look, so that asking often costs little.
    """

    def __init__(self, needed: Mapping[str, Check], told: Mapping[str, Check], seconds: float = SECONDS) -> None:
        self._needed = dict(needed)
        self._told = dict(told)
        self._seconds = seconds
        self._look: asyncio.Task[dict[str, bool]] | None = None
        self._failing: set[str] = set()

    async def response(self, _request: Request) -> Response:
        """200 with `status` ok, or 503 with `status` unavailable and the failing parts in `failing`."""
        found = await asyncio.shield(self._shared())
        failing = [name for name in self._needed if not found[name]]
        body: dict[str, object] = {
            "status": "unavailable" if failing else "ok",
            "checks": {name: "ok" if good else "unavailable" for name, good in found.items()},
        }
        if failing:
            body["failing"] = failing
        return JSONResponse(body, 503 if failing else 200, {"cache-control": "no-store"})

    def _shared(self) -> asyncio.Task[dict[str, bool]]:
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._ask_all())
        return self._look

    async def _ask_all(self) -> dict[str, bool]:
        checks = self._needed | self._told
        answers = await asyncio.gather(*(self._ask(check) for check in checks.values()))
        found = dict(zip(checks, answers, strict=True))
        self._tell({name for name in self._needed if not found[name]})
        return found

    async def _ask(self, check: Check) -> bool:
        try:
            async with asyncio.timeout(self._seconds):
                return await check()
        except (OutriderError, OSError, TimeoutError):
            return False

    def _tell(self, failing: set[str]) -> None:
        """A line in the log when it changes, not one a request."""
        if failing != self._failing:
            self._failing = failing
            if failing:
                log.warning("not ready: %s", ", ".join(sorted(failing)))
            else:
                log.info("ready again")


async def alive(_request: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


def routes(readiness: Readiness) -> list[Route]:
    return [Route("/healthz", alive), Route("/readyz", readiness.response)]
