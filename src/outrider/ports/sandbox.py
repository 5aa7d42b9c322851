"""The hands: an isolated place in which a session's tool calls run. Implementations: `sandbox/`, `testing/`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from outrider.errors import Internal
from outrider.ports.packages import Equipment

Living = Callable[[Collection[str]], Awaitable[set[str]]]
"""Says which of these ids are of stored sessions."""

Mount = tuple[str, bool]
"""A memory store's directory under /mnt/memory, and whether the agent may write there."""
RESULT_CHARACTERS = 100_000
"""Longer texts are kept in a file, and shown by both their ends."""
KEEP = "keep_result"
"""In place of a tool's name: `input.text` is the result of a call that ran elsewhere, to be kept as an own one is."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One built-in tool call. `id` is that of its `agent.tool_use` event; `thread` owns the shell that `bash` uses.
    It runs only where these memory stores are mounted; see `ports.mounted`. `folders`: names of the operator's, and
    whether the agent may write there; its sandbox shows them."""

    id: str
    thread: str
    name: str
    input: dict[str, Any]
    mounts: list[Mount] = field(default_factory=list[Mount])
    folders: list[Mount] = field(default_factory=list[Mount])


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What goes into the result event: content blocks in wire form and the error flag."""

    content: list[dict[str, Any]]
    is_error: bool = False


def text_outcome(text: str, *, is_error: bool = False) -> ToolOutcome:
    """An outcome of one text block; an empty text reads `(no output)`."""
    return ToolOutcome([{"type": "text", "text": text or "(no output)"}], is_error)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do on this host. `problem` and `fix` are set when `available` is False.

    `limits` names each limit with how it is enforced, or why it is not: {"pids": "rlimit", "memory": "not enforced:
    no delegated cgroup", ...}.
    """

    available: bool
    isolation: str
    problem: str | None = None
    fix: str | None = None
    limits: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Output:
    """A regular file in the outputs folder, by its path in there. `mark` is another once its bytes may be others."""

    path: str
    size: int
    mark: str


@dataclass(frozen=True, slots=True)
class Left:
    """What the outputs folder was seen to hold. `cut`: it has more entries, or deeper folders, than are looked at."""

    files: list[Output]
    cut: bool = False


UPLOAD_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that the session was given: where it belongs beneath its folder, and which it is. A file never changes, so
    the same id means the same bytes. In the folder `skills` it is an archive, and lies unpacked in a directory."""

    path: str
    file: str
    size: int
    folder: Literal["uploads", "skills"] = "uploads"


async def placed_pieces(upload: Upload, content: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """(offset, piece): at least one, also of an empty file. Raises ValueError when there are not as many bytes as the
    upload's size says."""
    offset = 0
    async for piece in content:
        if piece and offset + len(piece) <= upload.size:
            yield offset, piece
        offset += len(piece)
    if offset != upload.size:
        raise ValueError(f"{upload.file} has {offset} bytes, not {upload.size}")
    if upload.size == 0:
        yield 0, b""


class OutputChanged(Internal):
    """The file is not the one that was listed any more."""


class NotMounted(Internal):
    """The session's memory is not mounted there yet, or not any more. Nothing was begun."""


class Sandboxes(Protocol):
    """At most one sandbox a session, made at the first call. The workspace outlives the sandbox.

    Promised: a call id's side effects happen at most once, whoever asks and however often; a request under an epoch
    lower than the highest one seen for the session is refused (Fenced). Not promised: that a sandbox lives between
    two calls (background processes may be gone; the file system under /workspace and /mnt/session is not).
    """

    async def probe(self) -> Capabilities: ...

    async def execute(self, session: str, call: ToolCall, *, epoch: int, resume: bool = False) -> ToolOutcome:
        """Run the call, or attach to it if it runs already, or give its stored outcome.

        `resume` says that an earlier owner may have started it: then it is never started anew, and CallLost is
        raised when its outcome can't be learnt. Raises SandboxUnavailable, NotMounted, Fenced. Failures of
        the tool itself are outcomes with `is_error`. Cancelling the await does not stop the call: see `interrupt`.
        """
        ...

    async def interrupt(self, session: str, call_id: str, *, epoch: int) -> None:
        """Kill the call if it runs; its `execute` then returns an error outcome. Unknown ids are ignored."""
        ...

    async def outputs(self, session: str, *, epoch: int) -> Left:
        """What the agent has left for its user, a bounded number of files. Starts no sandbox.

        Raises SandboxUnavailable, Fenced.
        """
        ...

    def read_output(self, session: str, output: Output) -> AsyncIterator[bytes]:
        """In pieces. Raises OutputChanged unless they all belong to the file as it was listed; SandboxUnavailable."""
        ...

    async def missing_uploads(self, session: str, uploads: Sequence[Upload], *, epoch: int) -> list[Upload]:
        """Those that are not in their folder as a whole; what is there beside them is removed. A session without
        a place gets one. Starts no sandbox. Raises SandboxUnavailable, Fenced."""
        ...

    async def put_upload(self, session: str, upload: Upload, content: AsyncIterator[bytes], *, epoch: int) -> None:
        """Its bytes, as many as its size says, in pieces of at most `UPLOAD_PIECE`. It is there as a whole when this
        returns, and not at all before. Raises SandboxUnavailable, Fenced, and what `content` raises."""
        ...

    async def equip(self, session: str, equipment: Equipment, *, epoch: int) -> None:
        """Have the session's sandbox hold these packages from now on, installed now if they are not yet, which may take
        long; a sandbox without them is started again. A session without a place gets one. Raises SandboxUnavailable,
        which says why they can't be had; Fenced."""
        ...

    async def memory(self, session: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask about the session's mounted memory, where its sandbox is: see `ports.mounted`, which says what. Starts no
        sandbox. Raises SandboxUnavailable, NotMounted, Fenced."""
        ...

    async def stop(self, session: str) -> None:
        """End the sandbox; the workspace stays."""
        ...

    async def delete(self, session: str) -> None:
        """End the sandbox and erase workspace, outputs, uploads and journal."""
        ...

    async def sweep(self, living: Living) -> list[str]:
        """Erase what belongs to sessions that are not `living`; returns the ids of those of which nothing is left. One
        that can't be erased now keeps no other waiting. Raises SandboxUnavailable when nothing is known of any."""
        ...

    async def close(self) -> None:
        """Let go of connections. Sandboxes go on."""
        ...
