"""One way to call the SDK's synchronous and its asynchronous client, so that a test can be run with either."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Literal

import httpx2
from anthropic import Anthropic, AsyncAnthropic
from anthropic._resource import AsyncAPIResource, SyncAPIResource
from live_server import Server
from strict_wire import Inspector, StrictAsyncTransport, StrictTransport

Kind = Literal["sync", "async"]


class Asks:
    """Calls methods by their path below `client.beta`. `called` are the paths so far.

    Some resources stand below the client itself, too: with `general`, what is there is called there.
    """

    def __init__(self, client: Anthropic | AsyncAnthropic, *, general: bool = False) -> None:
        self.client = client
        self.called: set[str] = set()
        self._general = frozenset(methods_of(client)) if general else frozenset[str]()

    async def __call__(self, path: str, /, *given: Any, **named: Any) -> Any:
        got = self._call(path, given, named)
        return await got if inspect.isawaitable(got) else got

    async def every(self, path: str, /, *given: Any, **named: Any) -> list[Any]:
        """All items of a list, over its pages."""
        got = self._call(path, given, named)
        return [one async for one in got] if hasattr(got, "__aiter__") else list(got)

    async def events(self, path: str, /, *given: Any, then: Any, **named: Any) -> AsyncGenerator[Any]:
        """What comes on a stream after it was opened and `then()` was awaited."""
        stream = await self(path, *given, **named)
        await then()
        if isinstance(self.client, AsyncAnthropic):
            async with stream:
                async for event in stream:
                    yield event
        else:
            with stream:
                for event in stream:
                    yield event

    async def content(self, path: str, /, *given: Any, **named: Any) -> bytes:
        got = await self(path, *given, **named)
        read = got.read()
        return await read if inspect.isawaitable(read) else read

    def has(self, path: str) -> bool:
        return path in methods(self.client)

    def _call(self, path: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.called.add(path)
        found: Any = self.client if path in self._general else self.client.beta
        for name in path.split("."):
            found = getattr(found, name)
        return found(*given, **named)


@asynccontextmanager
async def asking(kind: Kind, server: Server, inspector: Inspector, *, general: bool = False) -> AsyncGenerator[Asks]:
    """A client whose answers are parsed strictly."""
    options: Any = {"base_url": server.url, "api_key": server.key, "max_retries": 0}
    if kind == "async":
        http = httpx2.AsyncClient(transport=StrictAsyncTransport(inspector))
        async with AsyncAnthropic(http_client=http, **options) as client:
            yield Asks(client, general=general)
    else:
        with Anthropic(http_client=httpx2.Client(transport=StrictTransport(inspector)), **options) as client:
            yield Asks(client, general=general)


def methods(client: Anthropic | AsyncAnthropic) -> frozenset[str]:
    """The path of each method that the SDK has below `client.beta`."""
    return frozenset(methods_of(client.beta))


def methods_of(resource: object, prefix: str = "") -> list[str]:
    """The path of each method of a resource and of those below it."""
    found: list[str] = []
    for name, member in vars(type(resource)).items():
        if name.startswith(("_", "with_")):
            continue
        if inspect.isfunction(member):
            found.append(prefix + name)
        elif isinstance(member, cached_property | property):
            below = getattr(resource, name)
            if isinstance(below, SyncAPIResource | AsyncAPIResource):
                found += methods_of(below, f"{prefix}{name}.")
    return found
