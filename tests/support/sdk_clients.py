"""Clients of the official SDK for tests. They are kept, and closed at the end of the run: one that is left to the
collector may be found with its sockets open, in a later test, and fail that one."""

from __future__ import annotations

from typing import Any

import httpx2
from anthropic import Anthropic
from surface import TOUCHED, readable

_open: list[Anthropic] = []


def sdk_client(url: str, key: str, **more: Any) -> Anthropic:
    """A client that does not retry by itself, unless `max_retries` says so."""
    options: dict[str, Any] = {"max_retries": 0} | more
    client = Anthropic(base_url=url, api_key=key, **options)
    if "http_client" not in more:
        client._client.event_hooks = {"request": [_read], "response": [_note]}  # pyright: ignore[reportPrivateUsage]
    _open.append(client)
    return client


def _read(request: httpx2.Request) -> None:
    readable(request)


def _note(response: httpx2.Response) -> None:
    if response.is_success:
        TOUCHED.request(response.request, readable(response.request))


def close_clients() -> None:
    while _open:
        _open.pop().close()
