"""The compressed tar files of a backup: blobs by their names, and directories of sandboxes' files as they are."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from outrider.errors import InvalidRequest
from outrider.ports.blobs import BlobKey, Blobs

PIECE = 1024 * 1024
LEFT_OUT = frozenset({"state.json", "state.json.new", "shim.log"})  # of processes that will not be there


async def pack_blobs(blobs: Blobs, keys: list[BlobKey], to: Path) -> None:
    with to.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        with tarfile.open(fileobj=squeezed, mode="w|") as tar:
            for key in keys:
                with tempfile.TemporaryFile(dir=to.parent) as whole:  # an entry begins with its size
                    async for piece in blobs.get(key):
                        whole.write(piece)
                    entry = tarfile.TarInfo(str(key))
                    entry.size = whole.tell()
                    whole.seek(0)
                    tar.addfile(entry, whole)


async def put_blobs(packed: Path, blobs: Blobs) -> None:
    with packed.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                if content is not None:
                    await blobs.put(BlobKey(*entry.name.split("/")), _pieces(content))
    await blobs.close()


async def _pieces(content: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := content.read(PIECE):
        yield piece


def pack(directory: Path, to: Path) -> None:
    """The files as they are, with owners and modes; what goes while it is read is left out."""
    with to.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        with tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for folder, names, files, fd in os.fwalk(directory, follow_symlinks=False):
                for name in [*names, *files]:
                    if name not in LEFT_OUT:
                        _add(tar, fd, name, os.path.relpath(os.path.join(folder, name), directory))


def _add(tar: tarfile.TarFile, folder: int, name: str, place: str) -> None:
    """Agents own these files and may exchange them at any moment: nothing is opened through a link."""
    entry = tarfile.TarInfo(place)
    try:
        status = os.lstat(name, dir_fd=folder)
        if stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=folder)
        elif stat.S_ISREG(status.st_mode):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                _describe(entry, status)
                entry.size = status.st_size
                return tar.addfile(entry, _Exactly(file, status.st_size))
        else:
            return None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EINVAL):
            return None  # gone, or something else by now
        raise
    _describe(entry, status)
    return tar.addfile(entry)


def _describe(entry: tarfile.TarInfo, status: os.stat_result) -> None:
    entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    entry.uid, entry.gid = status.st_uid, status.st_gid


class _Exactly(io.RawIOBase):
    """So many bytes of a file that may change meanwhile: what it lacks is zeros."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        got = self._file.read(wanted)
        self._left -= wanted
        return got + bytes(wanted - len(got))


def unpack(packed: Path, directory: Path) -> None:
    directory.mkdir(mode=0o711, parents=True)
    directory.parent.chmod(0o711)
    with packed.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            tar.extraction_filter = _unchanged  # owners and modes stay; Pythons before 3.11.4 know no filters
            tar.extractall(directory, members=_inside(tar), numeric_owner=True)


def _unchanged(entry: tarfile.TarInfo, _place: str, /) -> tarfile.TarInfo:
    return entry


def _inside(tar: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    """Lets no file be written outside of the directory, by its name or through a link that was unpacked before.
    Where a link points is its sandbox's concern."""
    links: set[str] = set()
    for entry in tar:
        parts = entry.name.split("/")
        if entry.name.startswith("/") or ".." in parts or entry.islnk():
            raise InvalidRequest(f"The backup names a file outside of it: {entry.name}.")
        if any("/".join(parts[:n]) in links for n in range(1, len(parts) + 1)):
            continue  # a directory that became a link while it was read
        if entry.issym():
            links.add(entry.name)
        yield entry
