"""Clients of the official SDK for tests. They are kept, and closed at the end of the run: one that is left to the
collector may be found with its sockets open, in a later test, and fail that one."""

from __future__ import annotations

from typing import Any

from anthropic import Anthropic

_open: list[Anthropic] = []


def sdk_client(url: str, key: str, **more: Any) -> Anthropic:
    """A client that does not retry by itself, unless `max_retries` says so."""
    options: dict[str, Any] = {"max_retries": 0} | more
    _open.append(Anthropic(base_url=url, api_key=key, **options))
    return _open[-1]


def close_clients() -> None:
    while _open:
        _open.pop().close()
