"""Sandboxes in memory behind the port, for tests: each call's outcome is made by a function, once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from outrider.errors import CallLost, Fenced
from outrider.ports.mounted import is_erasure
from outrider.ports.packages import Equipment
from outrider.ports.sandbox import (
    Capabilities,
    Left,
    Living,
    NotMounted,
    Output,
    OutputChanged,
    ToolCall,
    ToolOutcome,
    Upload,
    placed_pieces,
    text_outcome,
)

Hand = Callable[[ToolCall], Awaitable[ToolOutcome]]


async def echo(call: ToolCall) -> ToolOutcome:
    return text_outcome(f"{call.name} {call.input}")


class MemorySandboxes:
    """Keeps the port's promises within one process: at most one run for a call id, older epochs refused.

    `runs` counts how often each call really ran. `forget` loses all outcomes, as a dead host would.
    """

    def __init__(self, hand: Hand = echo) -> None:
        self.runs: Counter[str] = Counter()
        self.left: dict[str, dict[str, bytes]] = {}  # outputs by session and path
        self.cut = False  # whether there are said to be more outputs than were listed
        self.uploads: dict[str, dict[str, tuple[str, bytes]]] = {}  # (file, bytes) by session and path
        self.equipped: dict[str, Equipment] = {}
        self._hand = hand
        self._calls: dict[str, asyncio.Task[ToolOutcome]] = {}
        self._epochs: dict[str, int] = {}

    async def probe(self) -> Capabilities:
        return Capabilities(True, "memory: none at all")

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        self._admit(session, epoch)
        task = self._calls.get(call.id)
        if task is None and resume:
            raise CallLost(call.id)
        if task is None:
            self.runs[call.id] += 1
            task = self._calls[call.id] = asyncio.create_task(self._run(call))
        return await asyncio.shield(task)

    async def _run(self, call: ToolCall) -> ToolOutcome:
        try:
            return await self._hand(call)
        except asyncio.CancelledError:
            return text_outcome("killed", is_error=True)

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        self._admit(session, epoch)
        if call_id in self._calls:
            self._calls[call_id].cancel()

    def forget(self) -> None:
        self._calls.clear()

    async def outputs(self, session: str, *, epoch: int) -> Left:
        self._admit(session, epoch)
        left = self.left.get(session, {})
        return Left([Output(path, len(data), str(hash(data))) for path, data in sorted(left.items())], self.cut)

    async def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        data = self.left.get(session, {}).get(output.path)
        if data is None or str(hash(data)) != output.mark:
            raise OutputChanged(output.path)
        yield data

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        self._admit(session, epoch)
        there = self.uploads.get(session, {})
        wanted = {_named(one): one.file for one in uploads}
        self.uploads[session] = {path: held for path, held in there.items() if wanted.get(path) == held[0]}
        return [one for one in uploads if _named(one) not in self.uploads[session]]

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        data = b"".join([piece async for _, piece in placed_pieces(upload, content)])
        self._admit(session, epoch)
        self.uploads.setdefault(session, {})[_named(upload)] = (upload.file, data)

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        """It is noted who has what."""
        self._admit(session, epoch)
        self.equipped[session] = equipment

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        """Nothing can be mounted there."""
        if not is_erasure(request):
            self._admit(session, request["epoch"])
            raise NotMounted(session)
        return {}

    async def stop(self, session: str) -> None:
        """A sandbox in memory is nothing that could be stopped."""

    async def delete(self, session: str) -> None:
        self._epochs.pop(session, None)

    async def sweep(self, living: Living) -> list[str]:
        strays = sorted(self._epochs.keys() - await living(self._epochs))
        for session in strays:
            await self.delete(session)
        return strays

    async def close(self) -> None:
        for task in self._calls.values():
            task.cancel()

    def _admit(self, session: str, epoch: int) -> None:
        if epoch < self._epochs.get(session, 0):
            raise Fenced(f"epoch {epoch} of {session} is over")
        self._epochs[session] = epoch


def _named(upload: Upload) -> str:
    """Archives of skills beside what was uploaded."""
    return upload.path if upload.folder == "uploads" else f"../{upload.folder}/{upload.path}"
