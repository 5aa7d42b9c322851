"""The `Sandboxes` port over a sandbox host on another machine: what the harness uses in place of its own driver.

Promised: what the port promises, across the death of the connection, of the host's process and of this one. A host that
stays away raises `HostUnreachable` in bounded time. Not promised: which host has a session, see `sandbox.placed`.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple
from typing import Any

from outrider.errors import CallLost, Fenced, PeerRefused, SandboxUnavailable
from outrider.links.frames import BEAT_SECONDS, VERSION, Frame, Frames, Gone, NotTrusted
from outrider.links.peers import dial
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
)

PAUSE_SECONDS = 0.1
LONGEST_PAUSE = 1.0
HELLO_SECONDS = 5.0
ANSWER_SECONDS = 60.0  # for what the host answers at once, or soon
INTERRUPT_SECONDS = 5.0  # a client's interrupt waits for this
ERASE_SECONDS = 660.0
EQUIP_SECONDS = 4 * 3600.0  # the host itself ends what takes too long
MARGIN = 2.0  # beyond a host's lease, before its sessions may move


class HostUnreachable(SandboxUnavailable):
    """The host did not answer for as long as we have patience. `sent`: the request may have got there."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class _Lost(Exception):
    """The connection went; `sent`: after the request had been handed to it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class _Line:
    """One live connection: requests by number, answers as they come."""

    def __init__(self, frames: Frames, hello: Frame) -> None:
        self.frames = frames
        self.lease = float(hello["lease"])
        self.beat = float(hello["beat"])
        self.live = int(hello["live"])
        self.confirmed: tuple[float, float] | None = None  # a beat at which the sessions were ours; when we asked
        self.waiting: dict[int, asyncio.Future[Frame]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def end(self, reason: str) -> None:
        for waiter in self.waiting.values():
            if not waiter.done():
                waiter.set_exception(_Lost(reason, sent=True))
        self.frames.close()
        for task in self.tasks:
            task.cancel()


async def _always() -> bool:
    return True


class RemoteSandboxes:
    """One host, known by the name in its certificate. `patience`: the seconds for which one that is away is asked.

    `still_ours` says whether this process may still own sessions, by the store's word. Where the host leases sandboxes,
    it is asked before each use, and an answer no older than a beat is used again.
    """

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        context: ssl.SSLContext,
        *,
        patience: float = 15.0,
        still_ours: Callable[[], Awaitable[bool]] = _always,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._host, self._port = address
        self._context = context
        self._patience = patience
        self._still_ours = still_ours
        self._monotonic = monotonic
        self._line: _Line | None = None
        self._dialling = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._away_since: float | None = None
        self.reason = "it was not asked yet"

    # -- the port

    async def probe(self) -> Capabilities:
        found = await self._ask({"op": "probe"}, ANSWER_SECONDS)
        return Capabilities(**found)

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        try:
            return await self.try_execute(session, call, epoch=epoch, resume=resume)
        except HostUnreachable as gone:
            if gone.sent or resume:
                raise CallLost(gone.message) from gone
            raise

    async def try_execute(
        self, session: str, call: ToolCall, *, epoch: int, resume: bool, whole_patience: bool = False
    ) -> ToolOutcome:
        """`execute` that raises HostUnreachable where that would raise CallLost. `whole_patience`: wait it out even
        when the host has been away for long."""
        request = {"op": "execute", "session": session, "call": asdict(call), "epoch": epoch, "resume": resume}
        since = self._monotonic() if whole_patience else None
        found = await self._ask(request, None, since=since)
        return ToolOutcome(found["content"], found["is_error"])

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        request = {"op": "interrupt", "session": session, "call_id": call_id, "epoch": epoch}
        await self._ask(request, INTERRUPT_SECONDS)

    async def outputs(self, session: str, *, epoch: int) -> Left:
        request = {"op": "outputs", "session": session, "epoch": epoch, "cut": True}
        found = await self._ask(request, ANSWER_SECONDS)
        told: dict[str, Any] = {"files": found} if isinstance(found, list) else found  # a host of before sends a list
        return Left([Output(*one) for one in told["files"]], told.get("cut", False))

    async def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        offset = 0
        while True:
            request = {"op": "output", "session": session, "output": asdict(output), "offset": offset}
            found = await self._ask(request, ANSWER_SECONDS)
            if found is None:
                raise OutputChanged("it was changed while it was read")
            piece = base64.b64decode(found)
            if not piece:
                return
            offset += len(piece)
            yield piece

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        wanted = [astuple(one) for one in uploads]
        request = {"op": "missing", "session": session, "uploads": wanted, "epoch": epoch}
        return [Upload(*one) for one in await self._ask(request, ANSWER_SECONDS)]

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        about: Frame = {"op": "upload", "session": session, "upload": astuple(upload), "epoch": epoch}
        async for offset, piece in placed_pieces(upload, content):
            data = base64.b64encode(piece).decode()
            await self._ask({**about, "offset": offset, "data": data}, ANSWER_SECONDS)

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        request = {"op": "equip", "session": session, "equipment": asdict(equipment), "epoch": epoch}
        await self._ask(request, EQUIP_SECONDS)

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        return await self._ask({"op": "memory", "session": session, "request": request}, ANSWER_SECONDS)

    async def stop(self, session: str) -> None:
        await self._ask({"op": "stop", "session": session}, ANSWER_SECONDS)

    async def delete(self, session: str) -> None:
        await self._ask({"op": "delete", "session": session}, ERASE_SECONDS)

    async def sweep(self, living: Living) -> list[str]:
        stored = await self.stored()
        strays = sorted(set(stored) - await living(stored))
        for session in strays:
            await self.delete(session)
        return strays

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.end("closed")
            await asyncio.gather(*line.tasks, return_exceptions=True)

    # -- beyond it

    async def stored(self) -> list[str]:
        """The sessions that have files on the host."""
        return await self._ask({"op": "stored"}, ANSWER_SECONDS)

    async def keep(self, sessions: Sequence[str]) -> None:
        """A host that leases sandboxes keeps these for one more lease. To be said with each beat; never waits long."""
        line = self._line
        if line is None or not line.lease or not sessions:
            return
        with suppress(Gone, TimeoutError, Fenced):
            async with asyncio.timeout(BEAT_SECONDS):
                beat = await self._owned_at(line)
                frame = {"id": next(self._numbers), "op": "keep", "sessions": list(sessions), "beat": beat}
                await line.frames.send(frame)

    @property
    def live(self) -> int:
        """How many sandboxes lived there at the last beat; none while there is no connection."""
        return 0 if self._line is None else self._line.live

    async def load(self) -> int | None:
        """How many sandboxes live there; None when it can't be reached now."""
        try:
            return (await self._connected()).live
        except (_Lost, PeerRefused):
            return None

    # -- asking

    async def _ask(self, request: Frame, within: float | None, *, since: float | None = None) -> Any:
        """Ask until answered, over as many connections as it takes: the host knows a call by its id."""
        sent, pause = False, PAUSE_SECONDS
        try:
            async with asyncio.timeout(within):
                while True:
                    try:
                        return _result(await self._once(request))
                    except _Lost as lost:
                        sent |= lost.sent
                        self._check_patience(lost, since, sent=sent)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
        except TimeoutError:
            raise HostUnreachable(
                f"Sandbox host {self.name} did not answer within {within:.0f} s.", sent=sent
            ) from None
        except PeerRefused as refused:
            raise SandboxUnavailable(f"Sandbox host {self.name}: {refused.message}") from refused

    def _check_patience(self, lost: _Lost, since: float | None, *, sent: bool) -> None:
        away = self._away_since if since is None else since
        if away is not None and self._monotonic() - away >= self._patience:
            raise HostUnreachable(
                f"Sandbox host {self.name} has been unreachable for {self._patience:.0f} s ({lost}).", sent=sent
            ) from lost

    async def _once(self, request: Frame) -> Frame:
        line = await self._connected()
        beat = await self._owned_at(line) if request["op"] == "execute" else line.beat
        number = next(self._numbers)
        waiter = line.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await line.frames.send({"id": number, **request, "beat": beat})
            return await waiter
        except Gone as gone:
            raise _Lost(str(gone), sent=True) from gone
        except asyncio.CancelledError:
            if self._line is line:
                with suppress(Gone, TimeoutError):
                    async with asyncio.timeout(1.0):
                        await line.frames.send({"cancel": number})
            raise
        finally:
            line.waiting.pop(number, None)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # looked at, also when nobody waits any more

    async def _owned_at(self, line: _Line) -> float:
        """A recent beat of the host's, after which the store has said that our sessions are ours. Raises Fenced."""
        if not line.lease:
            return line.beat
        now = self._monotonic()
        if line.confirmed is not None and now - line.confirmed[1] < BEAT_SECONDS:
            return line.confirmed[0]
        beat = line.beat
        if not await self._still_ours():
            raise Fenced("This process owns no session any more.")
        line.confirmed = (beat, now)
        return beat

    async def _connected(self) -> _Line:
        """The connection, made now if there is none. Raises _Lost, PeerRefused."""
        async with self._dialling:
            if self._line is not None:
                return self._line
            try:
                line = await self._dialled()
            except (OSError, TimeoutError, Gone) as error:
                self._is_away(str(error) or "no connection in time")
                raise _Lost(self.reason, sent=False) from error
            except PeerRefused as refused:
                self._is_away(refused.message)
                raise
            self._line, self._away_since = line, None
            return line

    async def _dialled(self) -> _Line:
        peer, reader, writer = await dial(self._host, self._port, self._context, "sandbox")
        frames = Frames(reader, writer)
        received = frames.received()
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = await anext(received)
            self._check_hello(hello, peer.name)
        except NotTrusted as refused:
            frames.close()
            raise PeerRefused(str(refused)) from refused
        except BaseException:
            frames.close()
            raise
        line = _Line(frames, hello)
        line.tasks = [asyncio.create_task(self._read(line, received)), asyncio.create_task(_beat(line))]
        return line

    def _check_hello(self, hello: Frame, name: str) -> None:
        if name != self.name:
            raise PeerRefused(f"the host at {self._host}:{self._port} is called {name}.")
        if "refused" in hello:
            raise PeerRefused(f"it refuses this harness: {hello['refused']}")
        if hello.get("version") != VERSION:
            raise PeerRefused("it is of another version than this harness.")
        if hello["lease"] and self._patience < hello["lease"] + MARGIN:
            raise PeerRefused(
                f"its lease is {hello['lease']:.0f} s: sandbox.host_patience must be {MARGIN:.0f} s longer at least."
            )

    async def _read(self, line: _Line, received: Any) -> None:
        reason = "closed"
        try:
            async for frame in received:
                if "beat" in frame:
                    line.beat, line.live = float(frame["beat"]), int(frame["live"])
                    continue
                waiter = line.waiting.get(frame["id"])
                if waiter is not None and not waiter.done():
                    waiter.set_result(frame)
        except Gone as gone:
            reason = str(gone)
        finally:
            if self._line is line:
                self._line = None
                self._is_away(reason)
            line.end(reason)

    def _is_away(self, reason: str) -> None:
        self.reason = reason
        if self._away_since is None:
            self._away_since = self._monotonic()


async def _beat(line: _Line) -> None:
    with suppress(Gone):
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await line.frames.send()


def _result(answer: Frame) -> Any:
    if "error" not in answer:
        return answer.get("ok")
    kind, message = answer["error"], answer["message"]
    if kind == "fenced":
        raise Fenced(message)
    if kind == "lost":
        raise CallLost(message)
    if kind == "unmounted":
        raise NotMounted(message)
    raise SandboxUnavailable(message)
