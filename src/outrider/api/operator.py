"""The operator's port: metrics, and the two answers about health. Plain HTTP without a key, for a private network."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outrider.api.health import Readiness, routes


def create_operator_app(readiness: Readiness, scrape: Callable[[], Awaitable[bytes]], content_type: str) -> Starlette:
    """`scrape` gives all metrics as they are now, in the format that `content_type` names."""

    async def metrics(_request: Request) -> Response:
        return Response(await scrape(), headers={"content-type": content_type, "cache-control": "no-store"})

    return Starlette(routes=[Route("/metrics", metrics), *routes(readiness)])
