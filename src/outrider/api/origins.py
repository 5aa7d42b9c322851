"""By which names this server is spoken to, and which web pages may speak to it. Looked at before anything else.

A page of a stranger can make its own name lead to this server (DNS rebinding), so that a browser takes both for one; it
can't do that with an address, and it can't change the Host header that the browser sends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from outrider.config import LOOPBACK, Settings
from outrider.errors import OutriderError, PermissionDenied

METHODS = ("GET", "POST", "DELETE")
TOLD = ("request-id", "anthropic-workspace-id", "retry-after", "x-should-retry")
"""Of an answer's headers, those that a page may read."""
PREFLIGHT_SECONDS = 600
SHOWN = 100  # characters of what was sent, in an error
MOST = 1024

Refuse = Callable[[Request, OutriderError], Response]


def middleware(settings: Settings, refuse: Refuse) -> list[Middleware]:
    """What stands before the routes. Without `cors_origins` no answer has a header for other origins."""
    stack = [Middleware(Origins, settings=settings, refuse=refuse)]
    if settings.cors_origins:
        origins = list(settings.cors_origins)
        stack.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=METHODS,
                allow_headers=("*",),
                expose_headers=TOLD,
                max_age=PREFLIGHT_SECONDS,
            )
        )
    return stack


class Origins:
    """Refuses requests by their Host and Origin headers."""

    def __init__(self, app: ASGIApp, settings: Settings, refuse: Refuse) -> None:
        self._app = app
        self._refuse = refuse
        self._names = {"localhost", settings.host.lower(), *settings.allowed_hosts}
        self._origins = frozenset(settings.cors_origins)
        self._any_name = not settings.allowed_hosts and (settings.behind_proxy or settings.host not in LOOPBACK)
        self._known: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(Headers(scope=scope))
            except PermissionDenied as error:
                await self._refuse(Request(scope, receive), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise PermissionDenied("Name this server once, in the header Host.")
        if hosts[0] not in self._known:
            self._check_host(hosts[0])
        origin = headers.get("origin")
        if origin is not None:
            self._check_origin(origin, hosts[0])

    def _check_host(self, host: str) -> None:
        name = name_of(host)
        if not (self._any_name or name in self._names or is_address(name)):
            raise PermissionDenied(
                f"This server is not known as {host[:SHOWN]}. If it should be, list the name in server.allowed_hosts."
            )
        if len(self._known) < MOST:
            self._known.add(host)

    def _check_origin(self, origin: str, host: str) -> None:
        """A page of this server itself, or one of the listed."""
        place = urlsplit(origin).netloc.lower() if "://" in origin else ""
        own = bool(place) and (place == host.lower() or name_of(place) in self._names - {"localhost"})
        if not own and origin not in self._origins:
            raise PermissionDenied(
                f"Pages of {origin[:SHOWN]} may not use this server. If they should, list it in server.cors_origins."
            )


def name_of(host: str) -> str:
    """Without the port, in lower case."""
    head, colon, port = host.rpartition(":")
    return (head if colon and port.isdigit() else host).lower().removesuffix(".")


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
