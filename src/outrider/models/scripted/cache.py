"""Prompt caching as the API counts it: what a request reads from the cache, writes to it, and pays in full.

A token is taken to be four bytes of the block's JSON. Entries live for five minutes after their last use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from outrider.clock import Clock
from outrider.models.scripted.script import Request, blocks

LIFE = 300.0
LOOKBACK = 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """The prompt up to the end of one block: its digest, its tokens in all, and whether a breakpoint stands there."""

    digest: bytes
    tokens: int
    breakpoint: bool


@dataclass(frozen=True, slots=True)
class Counted:
    read: int
    created: int
    full: int


class PromptCache:
    """Remembers prompts by digest, per model. `minimum` is the least length, in tokens, that is worth an entry."""

    def __init__(self, clock: Clock, *, minimum: int = 1024) -> None:
        self._clock = clock
        self._minimum = minimum
        self._used: dict[bytes, float] = {}

    def count(self, request: Request) -> Counted:
        """The three parts of the prompt's tokens. Prompts up to each breakpoint are in the cache from now on."""
        prompt = stretches(request)
        total = prompt[-1].tokens if prompt else 0
        points = [number for number, stretch in enumerate(prompt) if stretch.breakpoint]
        points = [number for number in points if prompt[number].tokens >= self._minimum]
        if not points:
            return Counted(0, 0, total)
        read = self._longest(prompt, points)
        now = self._clock.monotonic()
        for number in points:
            self._used[prompt[number].digest] = now
        written = prompt[points[-1]].tokens
        return Counted(read, written - read, total - written)

    def _longest(self, prompt: list[Stretch], points: list[int]) -> int:
        oldest = self._clock.monotonic() - LIFE
        for point in reversed(points):
            for number in range(point, max(-1, point - LOOKBACK - 1), -1):
                used = self._used.get(prompt[number].digest)
                if used is not None and used >= oldest:
                    self._used[prompt[number].digest] = self._clock.monotonic()
                    return prompt[number].tokens
        return 0


def tokens(text: str) -> int:
    return max(1, len(text.encode()) // 4) if text else 0


def stretches(request: Request) -> list[Stretch]:
    """The prompt in the order in which the API caches it: tools, system, messages."""
    body = request.body
    running = hashlib.sha256(request.model.encode())
    found: list[Stretch] = []
    total = 0
    for block, settings in _blocks(body):
        plain = {key: value for key, value in block.items() if key != "cache_control"}
        text = msgspec.json.encode([settings, plain], order="sorted")
        running.update(hashlib.sha256(text).digest())
        total += max(1, len(msgspec.json.encode(plain)) // 4)
        found.append(Stretch(running.copy().digest(), total, bool(block.get("cache_control"))))
    if body.get("cache_control") and found:
        found[-1] = Stretch(found[-1].digest, found[-1].tokens, True)
    return found


def _blocks(body: Mapping[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """Each block with the settings whose change makes a new prefix from there on."""
    system: Any = body.get("system") or []
    texts: list[dict[str, Any]] = [{"type": "text", "text": system}] if isinstance(system, str) else system
    tools: list[dict[str, Any]] = body.get("tools") or []
    settings = [body.get("tool_choice"), body.get("thinking")]
    found: list[tuple[dict[str, Any], Any]] = [(tool, "tool") for tool in tools]
    found += [(text, "system") for text in texts]
    for message in cast(list[dict[str, Any]], body.get("messages") or []):
        found += [(block, [settings, message.get("role")]) for block in blocks(message)]
    return found
