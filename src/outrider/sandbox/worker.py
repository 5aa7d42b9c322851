"""One file tool call in a process of its own inside the sandbox. Its answer comes back by a pipe and is not trusted:
bounded in size and time, and checked for shape. Standard library only."""

from __future__ import annotations

import binascii
import json
import os
import signal
from collections.abc import Callable
from typing import Any

from outrider.sandbox import files, process, search
from outrider.sandbox.inputs import FILE_SECONDS
from outrider.sandbox.reactor import Reactor

CPU_SECONDS = 30
ANSWER_LIMIT = 32 * 1024**2
TOOLS: dict[str, Callable[[dict[str, Any]], list[files.Block]]] = {
    "read": files.read,
    "write": files.write,
    "edit": files.edit,
    "glob": search.glob,
    "grep": search.grep,
}
_KINDS = frozenset(("document" if media == files.PDF else "image", media) for media in files.MEDIA.values())

Outcome = dict[str, Any]
Done = Callable[[Outcome], None]


def failure(text: str) -> Outcome:
    return {"content": [files.text_block(text)], "is_error": True}


def perform(tool: str, given: dict[str, Any]) -> Outcome:
    """Run the tool here, in the calling process; all that it may fail with is an outcome."""
    try:
        return {"content": TOOLS[tool](given), "is_error": False}
    except files.ToolProblem as problem:
        return failure(f"{tool}: {problem}")
    except OSError as error:
        path = given.get("file_path") or given.get("path") or error.filename or ""
        return failure(f"{tool}: {path}: {files.reason(error)}")
    except MemoryError:
        return failure(f"{tool}: out of memory")
    except RecursionError:
        return failure(f"{tool}: the directories are nested too deeply")


class Worker:
    """A running file tool call. `done` is called once with its outcome."""

    def __init__(
        self,
        reactor: Reactor,
        spawn: Callable[[list[int], Callable[[], None]], int],
        tool: str,
        given: dict[str, Any],
        done: Done,
    ) -> None:
        self._reactor = reactor
        self._tool = tool
        self._done: Done | None = done
        self._answer = bytearray()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            self._pipe, writer = os.pipe()
            try:
                self._pid = spawn([null, writer, null], lambda: _answer(tool, given))
            except BaseException:
                os.close(self._pipe)
                raise
            finally:
                os.close(writer)
        finally:
            os.close(null)
        os.set_blocking(self._pipe, False)
        reactor.watch(self._pipe, self._collect)
        self._timer = reactor.after(FILE_SECONDS, lambda: self.end(f"{tool}: timed out after {FILE_SECONDS:g}s"))

    def _collect(self) -> None:
        try:
            chunk = os.read(self._pipe, 1 << 20)
        except BlockingIOError:
            return
        self._answer += chunk
        if len(self._answer) > ANSWER_LIMIT:
            self.end(f"{self._tool}: the result is too large")
        elif not chunk:
            code = self._close()
            self._finish(self._checked() or failure(self._epitaph(code)))

    def _epitaph(self, code: int) -> str:
        if code == -signal.SIGXCPU:
            return f"{self._tool}: timed out after {CPU_SECONDS}s of processor time"
        if code == -signal.SIGKILL:
            return f"{self._tool}: the process was killed; the sandbox may be out of memory"
        return f"{self._tool}: failed inside the sandbox (status {code})"

    def _checked(self) -> Outcome | None:
        """The answer, rebuilt from the parts that an outcome has; None if it isn't one."""
        try:
            found: Any = json.loads(self._answer)
            blocks = [_rebuilt(block) for block in found["content"]]
            return {"content": blocks, "is_error": found["is_error"] is True} if blocks else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def end(self, reason: str) -> None:
        """Kill it; the outcome is an error with this text."""
        os.kill(self._pid, signal.SIGKILL)  # our own child, not yet reaped
        self._close()
        self._finish(failure(reason))

    def _close(self) -> int:
        """Reap. A process that closed its pipe and lives on is killed."""
        self._timer.cancel()
        self._reactor.forget(self._pipe)
        os.close(self._pipe)
        pidfd = os.pidfd_open(self._pid)
        if not process.ended(pidfd, 1.0):
            os.kill(self._pid, signal.SIGKILL)
        os.close(pidfd)
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _finish(self, outcome: Outcome) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(outcome)


def _rebuilt(block: Any) -> files.Block:
    """A content block of known shape and nothing else. Raises ValueError, KeyError or TypeError."""
    if block["type"] == "text":
        return files.text_block(str(block["text"]).encode("utf-8", "replace").decode())  # no lone surrogates
    source = block["source"]
    if (block["type"], source["media_type"]) not in _KINDS:
        raise ValueError("unknown media")
    data = str(source["data"])
    binascii.a2b_base64(data, strict_mode=True)
    return {
        "type": block["type"],
        "source": {"type": "base64", "media_type": source["media_type"], "data": data},
    }


def _answer(tool: str, given: dict[str, Any]) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    answer = json.dumps(perform(tool, given)).encode()
    while answer:
        answer = answer[os.write(1, answer) :]
    os._exit(0)
