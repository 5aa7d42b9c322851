"""Backups of a data directory, taken while its server runs, and put back: the log, blobs, sandboxes' files, config.

What the log's copy refers to is in the backup. Files are copied after the log, so whatever the log calls done is in
them, and they may hold more, as after a crash. No secret is in a backup: neither keys, nor the first API key.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from outrider import __version__, config
from outrider.clock import Clock
from outrider.config import Settings
from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.blobs import BlobKey, BlobPrefix, Blobs, read_whole
from outrider.store.blobs.opening import open_blobs
from outrider.store.sqlite import copies
from outrider.supervisor import places
from outrider.supervisor.prelude import choose_users

FORMAT = 1
MANIFEST, LOG, BLOBS, FILES, CONFIG = "manifest.json", "log.db", "blobs.tar.zst", "sandboxes.tar.zst", "config.toml"
LEFT_OUT = frozenset({"state.json", "state.json.new", "shim.log"})  # of processes that will not be there
TRIES = 5
PIECE = 1024 * 1024


def make(settings: Settings, environment: Mapping[str, str], to: Path, clock: Clock) -> dict[str, Any]:
    """Write a backup into the new directory `to`; its manifest. Raises InvalidRequest, NotFound, Conflict."""
    if settings.database_url is not None:
        raise InvalidRequest(
            "The log is in PostgreSQL: back it up with PostgreSQL's own tools (see docs/how-to/backup.md)."
        )
    if not settings.database.exists():
        raise NotFound(f"There is no server's data in {settings.data}.")
    if to.exists():
        raise InvalidRequest(f"{to} exists already: name a new directory.")
    draft = to.with_name(f"{to.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        asyncio.run(_log_and_blobs(settings, open_blobs(settings, environment), draft))
        _pack(settings.sandboxes / "sessions", draft / FILES)
        if (settings.data / CONFIG).exists():
            shutil.copyfile(settings.data / CONFIG, draft / CONFIG)
        manifest = _manifest(draft, clock)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _sync(draft)
        draft.rename(to)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return manifest


def verify(place: Path) -> dict[str, Any]:
    """The manifest, once every file has been held against it. Raises InvalidRequest, naming what is wrong."""
    try:
        manifest: dict[str, Any] = json.loads((place / MANIFEST).read_text())
        files: dict[str, str] = manifest["files"]
        known = manifest["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{place} is no whole backup: {MANIFEST}: {error}.") from None
    if not known:
        raise InvalidRequest(f"{place} is a backup of format {manifest['format']}; this release knows {FORMAT}.")
    for name, digest in files.items():
        file = place / name
        if not file.is_file() or _digest(file) != digest:
            raise InvalidRequest(f"{file} is missing or not what was written: the backup is damaged.")
    copies.check(place / LOG)
    return manifest


def restore(place: Path, data: Path, environment: Mapping[str, str]) -> Settings:
    """Put a backup into the empty or absent directory `data`. Raises InvalidRequest; nothing is written then."""
    if data.exists() and any(data.iterdir()):
        raise InvalidRequest(f"{data} is not empty: a backup is restored into a new directory.")
    verify(place)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (place / CONFIG).exists():
        shutil.copyfile(place / CONFIG, data / CONFIG)
    settings = config.load(environment, data=data)
    users = choose_users(settings)
    _unpack(place / FILES, settings.sandboxes / "sessions")
    asyncio.run(_put_blobs(place / BLOBS, open_blobs(settings, environment)))
    if users.apart and settings.blob_files.exists():
        for path in (settings.blob_files, *settings.blob_files.rglob("*")):
            os.chown(path, users.server, users.server, follow_symlinks=False)
    draft = settings.database.with_suffix(".restoring")
    shutil.copyfile(place / LOG, draft)
    draft.chmod(0o600)
    draft.rename(settings.database)  # last: without it there is no server's data here
    places.prepare(settings, users)
    return settings


async def _log_and_blobs(settings: Settings, blobs: Blobs, draft: Path) -> None:
    """A blob may go between the two, with its session or when a cold log comes back: then once more."""
    missing = ""
    for _ in range(TRIES):
        (draft / LOG).unlink(missing_ok=True)
        await asyncio.to_thread(copies.copy, settings.database, draft / LOG)
        try:
            await _pack_blobs(blobs, await _wanted(blobs, draft / LOG), draft / BLOBS)
        except NotFound as error:
            missing = error.message
            continue
        return
    raise Conflict(f"The server deletes sessions faster than they can be copied ({missing}); try again.")


async def _wanted(blobs: Blobs, log: Path) -> list[BlobKey]:
    """What the copy refers to, and of cold sessions all there is: their rows, which refer to bodies, are blobs too."""
    wanted = set(await asyncio.to_thread(copies.blobs_of, log))
    for workspace, session in await asyncio.to_thread(copies.cold_sessions, log):
        wanted |= {info.key async for info in blobs.list(BlobPrefix(workspace, session))}
    return sorted(wanted)


async def _pack_blobs(blobs: Blobs, keys: list[BlobKey], to: Path) -> None:
    with to.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        with tarfile.open(fileobj=squeezed, mode="w|") as tar:
            for key in keys:
                content = await read_whole(blobs, key)
                entry = tarfile.TarInfo(str(key))
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


async def _put_blobs(packed: Path, blobs: Blobs) -> None:
    with packed.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                if content is not None:
                    await blobs.put(BlobKey(*entry.name.split("/")), content.read())
    await blobs.close()


def _pack(directory: Path, to: Path) -> None:
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


def _unpack(packed: Path, directory: Path) -> None:
    directory.mkdir(mode=0o711, parents=True)
    directory.parent.chmod(0o711)
    with packed.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            tar.extractall(directory, numeric_owner=True, filter=_Inside())


class _Inside:
    """Lets no file be written outside of the directory, by its name or through a link that was unpacked before.
    Where a link points is its sandbox's concern."""

    def __init__(self) -> None:
        self._links: set[str] = set()

    def __call__(self, entry: tarfile.TarInfo, _place: str, /) -> tarfile.TarInfo | None:
        parts = entry.name.split("/")
        if entry.name.startswith("/") or ".." in parts or entry.islnk():
            raise InvalidRequest(f"The backup names a file outside of it: {entry.name}.")
        if any("/".join(parts[:n]) in self._links for n in range(1, len(parts) + 1)):
            return None  # a directory that became a link while it was read
        if entry.issym():
            self._links.add(entry.name)
        return entry


def _manifest(place: Path, clock: Clock) -> dict[str, Any]:
    files = {file.name: _digest(file) for file in sorted(place.iterdir())}
    schema = copies.check(place / LOG)
    return {"format": FORMAT, "at": clock.now(), "outrider": __version__, "schema": schema, "files": files}


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _sync(place: Path) -> None:
    for path in (*place.iterdir(), place):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
