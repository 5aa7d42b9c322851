"""The `Sandboxes` port over bubblewrap: asks the zygote for shims and the shims for calls. Holds no truth of its own.

Promised: what `ports.sandbox.Sandboxes` promises, across the death of this process, of a shim and of the zygote.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.errors import CallLost, Fenced, SandboxUnavailable
from outrider.ports.metrics import SANDBOX_STARTS
from outrider.ports.mounted import is_erasure
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
from outrider.ports.telemetry import Meter, NoMeter
from outrider.sandbox import inputs, room
from outrider.sandbox.builds import BUILD_SECONDS, Builds
from outrider.sandbox.gone import erased
from outrider.sandbox.options import SESSION
from outrider.sandbox.uses import Call, Use

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from outrider.config import Limits
    from outrider.ports.packages import Equipment

ANSWER_DEADLINE = 30.0
ZYGOTE_DEADLINE = 15.0
ERASE_DEADLINE = 600.0
ROOM_DEADLINE = 30.0
ADOPTION_DEADLINE = 2.0
KEEP_DEADLINE = 2.0
CALL_GRACE = 120.0  # for the sandbox's start, and for a call that is killed to end
MOST_STARTS = 4  # of the shim, for one call
_LONGEST_LINE = 64 * 1024**2
_PAUSE = 0.02


class _NoAnswer(Exception):
    """The other end is not there, or went away before it answered."""


class _Unsure(_NoAnswer):
    """It may be there: it could not be asked, for want of descriptors, say."""


class BubblewrapSandboxes:
    """`root` and `run` as in `plan.zygote_options`; `control` is the zygote's socket. Any number may exist at once."""

    def __init__(
        self,
        root: Path,
        control: Path,
        run: Path,
        limits: Limits,
        meter: Meter | None = None,
        build_seconds: float = BUILD_SECONDS,
    ) -> None:
        self._root = root
        self._control = control
        self._run = run
        self._limits = limits
        self._meter = meter or NoMeter()
        self._uses: dict[str, Use] = {}
        self._freed = asyncio.Condition()
        self.stop_deadline = 10.0
        self.answer_deadline = ANSWER_DEADLINE
        self.call_grace = CALL_GRACE
        self._adopted = False
        self._able: Capabilities | None = None
        self._until: dict[str, float] = {}
        self._builds = Builds(self, build_seconds)

    @property
    def live(self) -> int:
        """Sandboxes that are alive, as far as this process knows."""
        for session, use in list(self._uses.items()):
            if use.live and not use.running and not use.settling.locked() and self._has_ended(session, use):
                self._ended(session)  # who is about to use it anew has said until when
        return sum(use.live for use in self._uses.values())

    def _has_ended(self, session: str, use: Use) -> bool:
        """By itself, of which nobody tells. The zygote removes the socket of a shim that it started; of another's shim
        the socket stays, so one that should have ended for idleness is spoken to."""
        path = self._run / session
        should_have = time.monotonic() - use.last > self._limits.sandbox_idle
        return not path.exists() or (should_have and not _listens(path))

    async def probe(self) -> Capabilities:
        if self._able is not None:
            return self._able
        found = await self._zygote({"op": "probe"})
        if "error" in found:
            return Capabilities(False, "none", found["message"], "start the server again; see its log")
        able = Capabilities(**found)
        self._able = able if able.available else None  # a host that can't isolate is asked again: it may be mended
        return able

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        async with self._use(session) as use:
            async with use.settling:
                if not use.live:
                    if not resume:
                        await self._check_reserve()
                    await self._make_room(use)
                running = use.begin(inputs.seconds(call.name, call.input), time.monotonic(), resume=resume)
            request: dict[str, Any] = {"op": "execute", "call": asdict(call), "epoch": epoch, "resume": resume}
            if session in self._until:
                request["until"] = self._until[session]
            warm = not (resume or call.mounts or call.folders)
            try:
                answer = await self._ask(session, request, warm=warm, running=running)
            finally:
                use.calls.discard(running)
        if "outcome" in answer:
            return ToolOutcome(answer["outcome"]["content"], answer["outcome"]["is_error"])
        raise await self._error(answer)

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        request = {"op": "interrupt", "call_id": call_id, "epoch": epoch}
        try:
            async with asyncio.timeout(ANSWER_DEADLINE):
                answer = await self._surely(session, request)
        except _NoAnswer:
            return  # no shim, so nothing runs
        except TimeoutError as error:
            raise SandboxUnavailable("The sandbox could not be told to end the call; it may run on.") from error
        if "error" in answer:
            raise await self._error(answer)

    async def outputs(self, session: str, *, epoch: int) -> Left:
        answer = await self._ask(session, {"op": "outputs", "epoch": epoch}, warm=False)
        if "error" in answer:
            raise await self._error(answer)
        cut = answer.get("cut", False)  # of which an older shim says nothing
        return Left([Output(*found) for found in answer["outputs"]], cut)

    async def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        offset = 0
        while piece := await self.piece_of_output(session, output, offset):
            offset += len(piece)
            yield piece

    async def piece_of_output(self, session: str, output: Output, offset: int) -> bytes:
        """From there on; empty at the end. Raises as `read_output`."""
        request = {"op": "output", "path": output.path, "mark": output.mark, "offset": offset}
        answer = await self._ask(session, request, warm=False)
        if "error" in answer:
            raise await self._error(answer)
        if "data" not in answer:
            raise OutputChanged("it was changed while it was read")
        return base64.b64decode(answer["data"])

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        request = {"op": "missing", "uploads": [astuple(one) for one in uploads], "epoch": epoch}
        answer = await self._ask(session, request, warm=False)
        if "error" in answer:
            raise await self._error(answer)
        missing = {(folder, path) for folder, path in answer["missing"]}
        return [one for one in uploads if (one.folder, one.path) in missing]

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        async for offset, piece in placed_pieces(upload, content):
            await self.put_piece(session, upload, offset, piece, epoch=epoch)

    async def put_piece(self, session: str, upload: Upload, offset: int, piece: bytes, *, epoch: int) -> None:
        data = base64.b64encode(piece).decode()
        request = {"op": "upload", "upload": astuple(upload), "offset": offset, "data": data, "epoch": epoch}
        answer = await self._ask(session, request, warm=False)
        if "error" in answer:
            raise await self._error(answer)

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        layers = await self._builds.have(equipment)
        answer = await self.ask(session, {"op": "equip", "layers": layers, "build": None, "epoch": epoch})
        if "error" in answer:
            raise await self._error(answer)

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        if is_erasure(request) and session not in await self.stored():
            return {}
        answer = await self._ask(session, {"op": "memory", **request}, warm=False)
        if "error" in answer:
            raise await self._error(answer)
        return answer

    async def stop(self, session: str) -> None:
        await self._stop(session)
        self._until.pop(session, None)
        self._ended(session)

    async def _stop(self, session: str) -> None:
        try:
            async with asyncio.timeout(self.stop_deadline):
                await self._surely(session, {"op": "stop"})
        except _NoAnswer:
            pass
        except TimeoutError:
            answer = await self._zygote({"op": "end", "session": session})
            if "error" in answer:
                raise SandboxUnavailable(f"The sandbox could not be ended: {answer['message']}") from None

    async def delete(self, session: str) -> None:
        await self.stop(session)
        answer = await self._zygote({"op": "delete", "session": session}, within=ERASE_DEADLINE)
        if "error" in answer:
            raise SandboxUnavailable(answer["message"])

    async def keep(self, session: str, until: float) -> None:
        """The session's sandbox ends at `until` on this host's monotonic clock, unless it is kept for longer by then.
        One that was never kept has no such end."""
        self._until[session] = max(until, self._until.get(session, until))
        use = self._uses.get(session)
        if use is not None and use.live:
            with suppress(_NoAnswer, TimeoutError):  # it has ended, or will
                async with asyncio.timeout(KEEP_DEADLINE):
                    await self._shim(session, {"op": "keep", "until": until})

    async def stored(self) -> list[str]:
        """The sessions that have files here."""
        answer = await self._zygote({"op": "list"})
        if "error" in answer:
            raise SandboxUnavailable(answer["message"])
        return answer["sessions"]

    async def sweep(self, living: Living) -> list[str]:
        stored = await self.stored()
        in_use = {name for name, use in self._uses.items() if use.running or use.last}  # perhaps not stored yet
        return await erased(set(stored) - await living(stored) - in_use, self.delete)

    async def close(self) -> None:
        """Connections last for one request each, so there is nothing to let go of."""

    @asynccontextmanager
    async def _use(self, session: str) -> AsyncGenerator[Use]:
        """Counts the session as in use, so that its sandbox is not stopped to make room."""
        await self._adopt()
        use = self._uses.setdefault(session, Use())
        use.running += 1
        try:
            yield use
        finally:
            use.running -= 1
            use.last = time.monotonic()
            if not (use.running or use.live or use.settling.locked()):
                self._uses.pop(session, None)  # it has no sandbox
            async with self._freed:
                self._freed.notify_all()

    async def _adopt(self) -> None:
        """Once: learn which shims of an earlier process still live, so that they count. A zygote that is being
        restarted is not waited for: the next call asks again."""
        if self._adopted:
            return
        self._adopted = True
        try:
            async with asyncio.timeout(ADOPTION_DEADLINE):
                found = await _converse(self._control, {"op": "sockets"})
        except (_NoAnswer, TimeoutError):
            self._adopted = False
            return
        for name in found.get("sessions", []):
            try:
                async with asyncio.timeout(2.0):
                    await self._shim(name, {"op": "status"})
            except _Unsure:
                self._adopted = False
                continue
            except (_NoAnswer, TimeoutError):
                continue
            self._uses.setdefault(name, Use()).live = True

    async def _check_reserve(self) -> None:
        """Packages that nobody uses go before a sandbox is refused."""
        if self._low():
            await self._zygote({"op": "collect"})
            if self._low():
                raise SandboxUnavailable(f"No sandbox can start: {room.NEARLY_FULL}.")

    def _low(self) -> bool:
        place = next(path for path in (self._root, *self._root.parents) if path.exists())
        return room.low(str(place), self._limits.reserve_share, self._limits.reserve_bytes)

    async def _make_room(self, use: Use) -> None:
        """Wait until one more sandbox is allowed, stopping the one that has been idle for longest."""
        try:
            async with asyncio.timeout(ROOM_DEADLINE):
                while not use.live and not await self._took_place(use):
                    async with self._freed:
                        await self._freed.wait()
        except TimeoutError as error:
            most = self._limits.live_sandboxes
            raise SandboxUnavailable(f"All {most} sandboxes are busy; try again later.") from error

    async def _took_place(self, use: Use) -> bool:
        live = [(other.last, name) for name, other in self._uses.items() if other.live]
        if len(live) < self._limits.live_sandboxes:
            use.live = True
            return True
        idle = min(((last, name) for last, name in live if not self._uses[name].running), default=None)
        if idle is None:
            return False
        victim = self._uses[idle[1]]
        async with victim.settling:
            await self._end(idle[1], victim)
        return await self._took_place(use)

    async def _end(self, session: str, use: Use) -> None:
        """With `settling` held: who wants to use it meanwhile waits, and then starts it anew. Until when such a one may
        have it was said already, and stays said."""
        use.live = False
        try:
            await self._stop(session)
        except BaseException:
            use.live = True
            raise
        use.calls.clear()
        self._ended(session)

    def _ended(self, session: str) -> None:
        use = self._uses.get(session)
        if use is not None:
            use.live = False
            if not use.running:
                del self._uses[session]

    async def ask(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        """For builds."""
        return await self._ask(session, request, warm=False)

    async def ask_zygote(self, request: dict[str, Any], *, within: float | None = None) -> dict[str, Any]:
        """For builds."""
        return await self._zygote(request, within=within)

    async def _ask(
        self, session: str, request: dict[str, Any], *, warm: bool, running: Call | None = None
    ) -> dict[str, Any]:
        """Ask the shim, having one started when there is none. Its journal makes asking again safe."""
        if not SESSION.fullmatch(session):
            return {"error": "unavailable", "message": f"{session!r} can't name a sandbox"}
        now = asyncio.get_running_loop().time
        starts, deadline = 0, now() + ANSWER_DEADLINE
        while now() < deadline and starts < MOST_STARTS:
            asked = now()
            try:
                return await self._patiently(session, request, running)
            except _NoAnswer:
                asking = now()
                started = await self._zygote({"op": "start", "session": session, "warm": warm})
                if started.get("new"):
                    self._meter.observe(SANDBOX_STARTS, now() - asking)
            if "error" in started:
                self._until.pop(session, None)
                self._ended(session)
                return started
            starts += started["new"]
            if now() - asked > 1.0:
                deadline = now() + ANSWER_DEADLINE  # it had been there: count from its death
            if not started["new"]:
                await asyncio.sleep(_PAUSE)
        return {"error": "unavailable", "message": "The sandbox's host process does not answer; see its shim.log."}

    async def _patiently(self, session: str, request: dict[str, Any], running: Call | None) -> dict[str, Any]:
        """Wait as long as the call takes, which the shim bounds, but no longer than the shim lives and keeps to that.
        What should have ended is given one more look: a shim that was frozen itself ends it then."""
        asked, late = asyncio.create_task(self._shim(session, request)), 0
        try:
            while not (await asyncio.wait({asked}, timeout=self.answer_deadline))[0]:
                async with asyncio.timeout(self.answer_deadline):
                    await self._shim(session, {"op": "status"})
                if running is None or time.monotonic() <= running.due + self.call_grace:
                    late = 0
                elif late == 0:
                    late = 1
                else:
                    return await self._end_late(session, running, asked)
            return await asked
        except TimeoutError:
            kind = "lost" if request["op"] == "execute" else "unavailable"  # only of a call it matters if it ran
            return {"error": kind, "message": "The sandbox has stopped answering."}
        finally:
            asked.cancel()

    async def _end_late(self, session: str, running: Call, asked: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        use = self._uses[session]
        async with use.settling:
            if asked.done():
                return await asked
            if running in use.calls:  # else another late one ended the sandbox, and there may be a new one
                with suppress(SandboxUnavailable):  # the next call is asked of the same one, and has its own time
                    await self._end(session, use)
        return {"error": "lost", "message": "The sandbox did not end this call in time. It may have partly run."}

    async def _shim(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        return await _converse(self._run / session, request)

    async def _surely(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        """For what counts as done where there is no shim: ask until it is known whether there is one."""
        while True:
            try:
                return await self._shim(session, request)
            except _Unsure:
                await asyncio.sleep(_PAUSE)

    async def _zygote(self, request: dict[str, Any], *, within: float | None = None) -> dict[str, Any]:
        """Ask the zygote; one that is being restarted is waited for."""
        try:
            async with asyncio.timeout(within or ZYGOTE_DEADLINE):
                while True:
                    try:
                        return await _converse(self._control, request)
                    except _NoAnswer:
                        await asyncio.sleep(_PAUSE)
        except TimeoutError:
            return {"error": "unavailable", "message": "The sandbox host's process does not answer."}

    async def _error(self, answer: dict[str, Any]) -> Exception:
        kind, message = answer["error"], answer["message"]
        if kind == "fenced":
            return Fenced(message)
        if kind == "lost":
            return CallLost(message)
        if kind == "unmounted":
            return NotMounted(message)
        able = await self.probe()
        if able.available:
            return SandboxUnavailable(f"The sandbox can't be used: {message}")
        return SandboxUnavailable(f"No sandbox can be made on this server: {able.problem}. To mend it: {able.fix}.")


def _listens(path: Path) -> bool:
    """Whether somebody does at this socket, or may."""
    try:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.setblocking(False)
            trial.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True  # too busy for more, or we are out of descriptors
    return True


async def _converse(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=_LONGEST_LINE)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise _NoAnswer from error
    except OSError as error:  # it is too busy for more, or we are out of descriptors
        raise _Unsure from error
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    except ConnectionError as error:
        raise _NoAnswer from error
    except OSError as error:
        raise _Unsure from error
    finally:
        writer.transport.abort()
    if not line.endswith(b"\n"):
        raise _NoAnswer
    return json.loads(line)
