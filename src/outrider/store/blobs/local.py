"""Blobs as files of one directory: `workspace/xx/owner/name`, where xx spreads the owners. Files have mode 0600.

A file is written beside its place, flushed, and renamed; so it is whole or absent, whatever dies. What dies while it
erases an owner may leave its directory, empty.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from outrider.errors import BlobsUnavailable, NotFound, OutriderError, StorageFull
from outrider.ports.blobs import BlobInfo, BlobKey, BlobPrefix

PIECE = 1024 * 1024
DRAFT = "draft~"  # can't be part of a key
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
LISTED_AT_ONCE = 500


class LocalBlobs:
    """Implements `Blobs`. The directory is made at the first `put`. Local disks are waited for without a deadline."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._drafts = 0

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        place = self._place(key)
        self._drafts += 1
        draft = place.with_name(f"{DRAFT}{os.getpid()}-{self._drafts}")
        try:
            if isinstance(content, bytes):
                await asyncio.to_thread(_write_whole, place, draft, content, self._directory)
            else:
                await self._stream(place, draft, content)
        except OSError as error:
            raise _translated(error, key) from error

    async def _stream(self, place: Path, draft: Path, content: AsyncIterable[bytes]) -> None:
        file = await asyncio.to_thread(_begin, draft, self._directory)
        try:
            async for piece in content:
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(_finish, file, draft, place)
        except BaseException:
            _give_up(file, draft)
            raise

    async def get(self, key: BlobKey) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(open, self._place(key), "rb", buffering=0)
            with file:
                while piece := await asyncio.to_thread(file.read, PIECE):
                    yield piece
        except OSError as error:
            raise _translated(error, key) from error

    async def exists(self, key: BlobKey) -> bool:
        return await asyncio.to_thread(self._place(key).exists)

    async def delete(self, key: BlobKey) -> None:
        try:
            await asyncio.to_thread(self._place(key).unlink, missing_ok=True)
        except OSError as error:
            raise _translated(error, key) from error

    async def delete_all(self, prefix: BlobPrefix) -> int:
        try:
            return await asyncio.to_thread(self._delete_all, prefix)
        except OSError as error:
            raise _translated(error, prefix) from error

    async def list(self, prefix: BlobPrefix) -> AsyncIterator[BlobInfo]:
        found = self._found(prefix)
        while batch := await asyncio.to_thread(_some, found):
            for info in batch:
                yield info

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _place(self, key: BlobKey) -> Path:
        return self._of(key.workspace, key.owner) / key.name

    def _of(self, workspace: str, owner: str) -> Path:
        spread = hashlib.sha256(owner.encode()).hexdigest()[:2]
        return self._directory / workspace / spread / owner

    def _delete_all(self, prefix: BlobPrefix) -> int:
        """Others may delete the same at the same time: what is gone already is no error."""
        count = sum(1 for _ in self._found(prefix))
        for owner in self._owners(prefix):
            shutil.rmtree(owner, onerror=_unless_gone)
        return count

    def _owners(self, prefix: BlobPrefix) -> list[Path]:
        if prefix.workspace is not None and prefix.owner is not None:
            found = self._of(prefix.workspace, prefix.owner)
            return [found] if found.is_dir() else []
        return sorted(self._directory.glob(f"{prefix.workspace or '*'}/??/*"))

    def _found(self, prefix: BlobPrefix) -> Iterator[BlobInfo]:
        """Drafts that a dead process left are no blobs; they go with their owner."""
        for owner in self._owners(prefix):
            for file in _files(owner):
                try:
                    size = file.stat().st_size
                except FileNotFoundError:
                    continue
                if not file.name.startswith(DRAFT):
                    yield BlobInfo(BlobKey(owner.parents[1].name, owner.name, file.name), size)


def _files(owner: Path) -> list[Path]:
    try:
        return sorted(owner.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # or nothing of ours
        return []


def _unless_gone(_call: object, _path: str, problem: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(problem[1], FileNotFoundError):
        raise problem[1]


def _some(found: Iterator[BlobInfo]) -> list[BlobInfo]:
    return list(islice(found, LISTED_AT_ONCE))


def _begin(draft: Path, root: Path) -> BinaryIO:
    _make_directory(draft.parent, root)
    return os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _write_whole(place: Path, draft: Path, content: bytes, root: Path) -> None:
    file = _begin(draft, root)
    try:
        file.write(content)
        _finish(file, draft, place)
    except BaseException:
        _give_up(file, draft)
        raise


def _finish(file: BinaryIO, draft: Path, place: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    draft.rename(place)
    _sync_directory(place.parent)


def _give_up(file: BinaryIO, draft: Path) -> None:
    draft.unlink(missing_ok=True)
    try:
        file.close()
    except OSError:  # what could not be written is not wanted any more
        return


def _make_directory(directory: Path, root: Path) -> None:
    """Make it and what is missing above it, each durable in its parent."""
    if directory.is_dir():
        return
    if directory != root:
        _make_directory(directory.parent, root)
    directory.mkdir(mode=0o700, exist_ok=True, parents=directory == root)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _translated(error: OSError, what: BlobKey | BlobPrefix) -> OutriderError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f"Blob {what} was not found.")
    if error.errno in NO_ROOM:
        return StorageFull("The blob store's file system is full. Nothing was stored.")
    return BlobsUnavailable(f"The blob store's directory can't be used ({error.strerror}).", retry_after=1)
