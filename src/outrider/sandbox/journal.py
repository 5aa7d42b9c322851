"""The session's record of tool calls, on disk and out of the sandbox's sight: what was started, and how it ended.

Promised: a call's start is on disk before its side effect, so that no id is started twice. The latest outcomes are
kept, not all of them. One process, the session's shim, writes it. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any

KEPT_OUTCOMES = 256
KEPT_BYTES = 256 * 1024**2
SPOOL_BYTES = 256 * 1024


class Journal:
    """`directory` must be writable; it is made if it is missing."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        os.makedirs(os.path.join(directory, "outcomes"), mode=0o700, exist_ok=True)
        os.makedirs(os.path.join(directory, "spool"), mode=0o700, exist_ok=True)
        self._started: set[str] = set()
        self._unwritten: dict[str, dict[str, Any]] = {}
        self.epoch = 0
        path = os.path.join(directory, "starts")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._load()

    def _load(self) -> None:
        with open(self._file, "rb", closefd=False) as file:
            text = file.read()
        whole = text.rfind(b"\n") + 1  # a torn last line was never answered: its call did not start
        if whole != len(text):
            os.ftruncate(self._file, whole)
        for line in text[:whole].splitlines():
            entry: dict[str, Any] = json.loads(line)
            self.epoch = max(self.epoch, entry["epoch"])
            if "id" in entry:
                self._started.add(entry["id"])

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, size)  # what was not stored must not stand before what will be
            raise

    def raise_epoch(self, epoch: int) -> None:
        """Remember the highest epoch seen, so that a later shim refuses older ones too."""
        if epoch > self.epoch:
            self._append({"epoch": epoch})
            self.epoch = epoch

    def started(self, call: str) -> bool:
        return call in self._started

    def start(self, call: str, epoch: int, tool: str) -> None:
        self._append({"id": call, "epoch": epoch, "tool": tool})
        self._started.add(call)
        self.epoch = max(self.epoch, epoch)

    def finish(self, call: str, outcome: dict[str, Any]) -> None:
        """Store the outcome. It survives every process; a host that loses power may lose it."""
        path = self._outcome_path(call)
        try:
            with open(f"{path}.new", "w", encoding="utf-8") as file:
                json.dump(outcome, file)
            os.rename(f"{path}.new", path)
        except OSError:
            self._unwritten[call] = outcome  # the disk is full: known at least as long as this process lives
        self._remove(os.path.join(self._directory, "spool", call))
        if len(self._started) % 32 == 0:
            self._prune()

    def outcome(self, call: str) -> dict[str, Any] | None:
        try:
            with open(self._outcome_path(call), encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return self._unwritten.get(call)
        except ValueError:
            return None  # a power cut left it torn: the call was started, and its outcome isn't known

    def spool(self, call: str) -> Spool:
        return Spool(os.path.join(self._directory, "spool", call))

    def partial(self, call: str) -> str:
        """What a call that never ended had written so far, as far as it was spooled."""
        try:
            with open(os.path.join(self._directory, "spool", call), "rb") as file:
                return file.read(SPOOL_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _outcome_path(self, call: str) -> str:
        return os.path.join(self._directory, "outcomes", call)

    def _remove(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def _prune(self) -> None:
        with os.scandir(os.path.join(self._directory, "outcomes")) as entries:
            found = sorted(((e.stat().st_mtime_ns, e.stat().st_size, e.path) for e in entries), reverse=True)
        total = 0
        for position, (_, size, path) in enumerate(found):
            total += size
            if position >= KEPT_OUTCOMES or total > KEPT_BYTES:
                self._remove(path)


class Spool:
    """A running call's output on disk, held near its last `SPOOL_BYTES`. Made when the first byte comes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._size = 0

    def write(self, chunk: bytes) -> None:
        try:
            self._write(chunk)
        except OSError:
            self.close()  # a full disk must not end the call; only what a crash would leave to read is lost

    def _write(self, chunk: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if self._size + len(chunk) > 2 * SPOOL_BYTES:
            tail = os.pread(self._fd, SPOOL_BYTES, max(0, self._size - SPOOL_BYTES))
            os.ftruncate(self._fd, 0)
            self._size = os.pwrite(self._fd, tail, 0)
        self._size += os.pwrite(self._fd, chunk, self._size)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
