"""The compressed tar files of a backup: blobs by their names, and directories of sandboxes' files as they are."""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

import zstandard

from outrider.errors import InvalidRequest
from outrider.ports.blobs import BlobKey, Blobs
from outrider.sandbox import walk

PIECE = 1024 * 1024
OWN = "own"
OF_PROCESSES = frozenset({"state.json", "state.json.new", "shim.log"})  # in OWN: of processes that will not be there
LONGEST = 3_500  # bytes of a path: with a data directory's in front of it, programs can't name a longer one
NAMED = 10
WAIT_SECONDS = 60.0  # for a measurement of a session's files, which is a matter of moments
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL)  # or something else by now


@dataclass(slots=True)
class LeftOut:
    """Files and directories that could not be read, or whose paths are too long: how many, and the first by name."""

    count: int = 0
    first: list[str] = field(default_factory=list[str])

    def add(self, session: str, above: Sequence[str] = (), *name: str) -> None:
        """Agents make many of these, and paths of any length: a path is put together only if it is kept."""
        self.count += 1
        if len(self.first) < NAMED:
            place = "/".join([session, *above[:LONGEST], *name])
            self.first.append(place if len(place) <= LONGEST else f"{place[:LONGEST]}...")


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


def pack(directory: Path, to: Path) -> LeftOut:
    """The files of all sessions as they are, with owners and modes. What goes while it is read is left out; what else
    is, is returned. No agent can keep the files of other sessions out."""
    left = LeftOut()
    with to.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        with tarfile.open(fileobj=squeezed, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for session in sorted(os.listdir(directory)) if directory.exists() else ():
                with walk.alone(str(directory / session / OWN), WAIT_SECONDS):
                    _pack_session(tar, directory, session, left)
    return left


def _pack_session(tar: tarfile.TarFile, directory: Path, session: str, left: LeftOut) -> None:
    top = os.open(directory, walk.DIRECTORY | os.O_CLOEXEC)
    try:
        _add(tar, top, session, session, left)
        for entry in walk.walk(str(directory / session), lambda way, _: left.add(session, way)):
            if entry.above == [OWN] and entry.name in OF_PROCESSES:
                continue
            if len(session) + 1 + entry.length <= LONGEST:
                _add(tar, entry.at, entry.name, "/".join([session, *entry.above, entry.name]), left)
            else:
                left.add(session, entry.above, entry.name)
    except (walk.Moved, PermissionError):
        left.add(session)  # of which some may be there
    except OSError as error:
        if error.errno not in GONE:
            raise
    finally:
        os.close(top)


def _add(tar: tarfile.TarFile, at: int, name: str, place: str, left: LeftOut) -> None:
    """Agents own these files and may exchange them at any moment: nothing is opened through a link."""
    entry = tarfile.TarInfo(place)
    try:
        status = os.lstat(name, dir_fd=at)
        if stat.S_ISDIR(status.st_mode):
            entry.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(status.st_mode):
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=at)
        elif stat.S_ISREG(status.st_mode):
            return _add_file(tar, at, name, entry)
        else:
            return None
    except PermissionError:
        return left.add(place)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    _describe(entry, status)
    return tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, at: int, name: str, entry: tarfile.TarInfo) -> None:
    fd = walk.opened(at, name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        _describe(entry, status)
        entry.size = status.st_size
        tar.addfile(entry, _Exactly(file, status.st_size))


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
    clear = ""  # the last entry's directory, which lies behind none of these
    for entry in tar:
        if entry.name.startswith("/") or ".." in entry.name.split("/") or entry.islnk():
            raise InvalidRequest(f"The backup names a file outside of it: {entry.name}.")
        directory = entry.name.rpartition("/")[0]
        if _is_behind(directory, links, clear) or entry.name in links:
            continue  # a directory that became a link while it was read
        clear = directory
        if entry.issym():
            links.add(entry.name)
            clear = ""
        yield entry


def _is_behind(directory: str, links: Collection[str], clear: str) -> bool:
    """Looks at what is not on the way to `clear`, which is next to nothing: neighbours follow each other."""
    while directory and not f"{clear}/".startswith(f"{directory}/"):
        if directory in links:
            return True
        directory = directory.rpartition("/")[0]
    return False
