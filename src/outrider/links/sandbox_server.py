"""A sandbox host's side of the connection: serves the `Sandboxes` port of its machine to harnesses.

A connection's end stops nothing: calls go on, and whoever asks for them by id and epoch gets them. With a lease, each
use of a sandbox is good only until so long after the beat that it answers to: see docs/decisions/placement.md.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, astuple
from typing import Any, Protocol

from outrider.errors import CallLost, Fenced, OutriderError, PeerRefused, SandboxUnavailable
from outrider.links.frames import BEAT_SECONDS, VERSION, Frame, Frames, Gone
from outrider.links.peers import CONNECT_SECONDS, check_role
from outrider.ports.packages import Equipment
from outrider.ports.sandbox import NotMounted, Output, OutputChanged, Sandboxes, ToolCall, Upload

log = logging.getLogger("outrider.sandbox")
INTERNAL = "The sandbox host had an internal error; its log says which."


class HostSandboxes(Sandboxes, Protocol):
    """What a host has beyond the port."""

    async def keep(self, session: str, until: float) -> None:
        """Its sandbox ends at this time of the monotonic clock, unless it is kept for longer by then."""
        ...

    async def piece_of_output(self, session: str, output: Output, offset: int) -> bytes:
        """Empty at the end. Raises as `read_output`."""
        ...

    async def put_piece(self, session: str, upload: Upload, offset: int, piece: bytes, *, epoch: int) -> None:
        """A part of `put_upload`; the same one may come again."""
        ...

    async def stored(self) -> list[str]:
        """The sessions that have files here."""
        ...

    @property
    def live(self) -> int:
        """How many sandboxes live here now."""
        ...


class SandboxServer:
    """`lease`: the seconds that a beat is good for (0: no sandbox ends for want of a harness)."""

    def __init__(self, sandboxes: HostSandboxes, lease: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sandboxes = sandboxes
        self._lease = lease
        self._monotonic = monotonic

    @asynccontextmanager
    async def serving(self, listener: socket.socket, context: ssl.SSLContext) -> AsyncGenerator[None]:
        tasks: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accepted, sock=listener, ssl=context, ssl_handshake_timeout=CONNECT_SECONDS)
        try:
            yield
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(reader, writer)
        where = str(writer.get_extra_info("peername"))
        try:
            peer = check_role(writer.get_extra_info("ssl_object"), ("harness",), where)
            log.info("harness %s connected from %s", peer.name, where)
            await _Serving(frames, self._sandboxes, self._lease, self._monotonic).run()
        except PeerRefused as refused:
            log.warning("refused: %s", refused.message)
            with suppress(Gone):
                await frames.send({"refused": refused.message})
                writer.close()  # not aborted: the reason must get there
                return
        except Gone as gone:
            log.info("harness at %s left: %s", where, gone)
        finally:
            if not writer.is_closing():
                frames.close()


class _Serving:
    """One harness's connection."""

    def __init__(self, frames: Frames, sandboxes: HostSandboxes, lease: float, monotonic: Callable[[], float]) -> None:
        self._frames = frames
        self._sandboxes = sandboxes
        self._lease = lease
        self._monotonic = monotonic
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the other end goes. Raises Gone."""
        await self._frames.send({"version": VERSION, "lease": self._lease, **self._beat()})
        beating = asyncio.create_task(self._beats())
        try:
            async for frame in self._frames.received():
                self._take(frame)
        finally:
            beating.cancel()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(beating, *self._tasks.values(), return_exceptions=True)

    def _beat(self) -> Frame:
        return {"beat": self._monotonic(), "live": self._sandboxes.live}

    async def _beats(self) -> None:
        with suppress(Gone):  # the reading side notices, too
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                await self._frames.send(self._beat())

    def _take(self, frame: Frame) -> None:
        if "cancel" in frame:
            task = self._tasks.get(frame["cancel"])
            if task is not None:
                task.cancel()
            return
        number = int(frame["id"])
        task = asyncio.create_task(self._answer(number, frame))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, number: int, frame: Frame) -> None:
        try:
            answer: Frame = {"id": number, "ok": await self._perform(frame)}
        except OutriderError as error:
            answer = {"id": number, "error": _kind(error), "message": error.message}
        except Exception:
            log.exception("a request of a harness failed: %s", frame.get("op"))
            answer = {"id": number, "error": _internal(frame), "message": INTERNAL}
        with suppress(Gone):
            await self._frames.send(answer)

    async def _perform(self, frame: Frame) -> Any:
        session = frame.get("session", "")
        match frame["op"]:
            case "execute":
                await self._kept(session, frame)
                call = ToolCall(**frame["call"])
                return asdict(
                    await self._sandboxes.execute(session, call, epoch=frame["epoch"], resume=frame["resume"])
                )
            case "interrupt":
                return await self._sandboxes.interrupt(session, frame["call_id"], epoch=frame["epoch"])
            case "outputs" | "output" | "missing" | "upload" | "memory" | "equip":
                return await self._files(session, frame)
            case "keep":
                for one in frame["sessions"]:
                    await self._kept(one, frame)
                return None
            case "stop":
                return await self._sandboxes.stop(session)
            case "delete":
                return await self._sandboxes.delete(session)
            case "stored":
                return await self._sandboxes.stored()
            case "probe":
                return asdict(await self._sandboxes.probe())
            case unknown:
                raise SandboxUnavailable(f"This sandbox host knows no {unknown!r}: it is of another version.")

    async def _files(self, session: str, frame: Frame) -> Any:
        """What was asked of its memory; the list of its outputs, or a piece of one, None when that was changed."""
        if frame["op"] == "memory":
            return await self._sandboxes.memory(session, frame["request"])
        if frame["op"] == "equip":
            return await self._sandboxes.equip(session, Equipment(**frame["equipment"]), epoch=frame["epoch"])
        if frame["op"] in ("missing", "upload"):
            return await self._uploads(session, frame)
        if frame["op"] == "outputs":
            left = await self._sandboxes.outputs(session, epoch=frame["epoch"])
            found = [astuple(one) for one in left.files]
            knows_more = "cut" in frame  # a harness of the version before reads a list alone
            return {"files": found, "cut": left.cut} if knows_more else found
        try:
            piece = await self._sandboxes.piece_of_output(session, Output(**frame["output"]), frame["offset"])
        except OutputChanged:
            return None
        return base64.b64encode(piece).decode()

    async def _uploads(self, session: str, frame: Frame) -> Any:
        """What is missing, or nothing for a piece that was put."""
        if frame["op"] == "missing":
            wanted = [Upload(*one) for one in frame["uploads"]]
            return [
                astuple(one) for one in await self._sandboxes.missing_uploads(session, wanted, epoch=frame["epoch"])
            ]
        piece = base64.b64decode(frame["data"])
        upload = Upload(*frame["upload"])
        return await self._sandboxes.put_piece(session, upload, frame["offset"], piece, epoch=frame["epoch"])

    async def _kept(self, session: str, frame: Frame) -> None:
        """Good for one lease after the beat it answers to: a frame that was long on its way counts for nothing."""
        if self._lease == 0:
            return
        until = frame["beat"] + self._lease
        if until <= self._monotonic():
            raise SandboxUnavailable("The request was too long on its way to its sandbox host.")
        await self._sandboxes.keep(session, until)


def _internal(frame: Frame) -> str:
    """A call may have begun before something failed."""
    return "lost" if frame.get("op") == "execute" else "unavailable"


def _kind(error: OutriderError) -> str:
    if isinstance(error, Fenced):
        return "fenced"
    if isinstance(error, CallLost):
        return "lost"
    if isinstance(error, NotMounted):
        return "unmounted"
    return "unavailable"
