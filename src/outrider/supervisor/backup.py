"""Backups of a server's data, taken while it runs, and put back: log, blobs, vault ciphertext, files, config.

What the log's copy refers to is in the backup. The rest is copied after the log, so whatever the log calls done is in
it, and it may hold more, as after a crash. No key is in a backup: not the vault's, nor models', nor the first API key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from outrider import __version__, config
from outrider.clock import Clock
from outrider.config import DATABASE_URL, Settings
from outrider.errors import Conflict, InvalidRequest, NotFound
from outrider.ports.blobs import BlobKey, BlobPrefix, Blobs
from outrider.store.blobs.opening import open_blobs
from outrider.store.sqlite import copies
from outrider.supervisor import archives, places
from outrider.supervisor.prelude import choose_users

FORMAT, KNOWN = 2, (1, 2)
MANIFEST, LOG, BLOBS, FILES, CONFIG = "manifest.json", "log.db", "blobs.tar.zst", "sandboxes.tar.zst", "config.toml"
SECRETS = "secrets.db"
TRIES = 5
PIECE = 1024 * 1024
POSTGRES, SQLITE = "postgresql", "sqlite"
Copied = tuple[dict[str, Any], Collection[BlobKey], Collection[tuple[str, str]]]
"""What the manifest says of a copy, the blobs that it names, and its cold sessions."""
Copying = Callable[[], Awaitable[Copied]]
Part = Literal["log", "vault", "sandboxes"]
PARTS: tuple[Part, ...] = ("log", "vault", "sandboxes")
"""What one machine may have without the others: the log with its blobs, the secrets, the files of its sandboxes."""


def make(
    settings: Settings, environment: Mapping[str, str], to: Path, clock: Clock, parts: Collection[Part] = PARTS
) -> dict[str, Any]:
    """Write a backup into the new directory `to`; its manifest. Raises InvalidRequest, NotFound, Conflict, and what
    the database raises."""
    _check_source(settings, parts)
    if to.exists():
        raise InvalidRequest(f"{to} exists already: name a new directory.")
    draft = to.with_name(f"{to.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    try:
        manifest = _fill(draft, settings, environment, clock, parts)
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
        known = manifest["format"] in KNOWN
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"{place} is no whole backup: {MANIFEST}: {error}.") from None
    if not known:
        raise InvalidRequest(f"{place} is a backup of format {manifest['format']}; this release knows {FORMAT}.")
    for name, digest in files.items():
        file = place / name
        if not file.is_file() or _digest(file) != digest:
            raise InvalidRequest(f"{file} is missing or not what was written: the backup is damaged.")
    manifest.setdefault("store", SQLITE)  # format 1 knew no other
    if manifest["store"] == SQLITE:
        copies.check(place / LOG)
    elif manifest["store"] == POSTGRES:
        _postgres().check(manifest["log"], files)
    return manifest


def restore(place: Path, data: Path, environment: Mapping[str, str], *, as_original: bool = False) -> Settings:
    """Put a backup into the empty or absent directory `data`, and a log of PostgreSQL into the empty database that the
    settings name. `as_original`: under the name of the server that was backed up, which must never run again.
    Raises InvalidRequest, and what the database raises; if at once, nothing is written."""
    if data.exists() and any(data.iterdir()):
        raise InvalidRequest(f"{data} is not empty: a backup is restored into a new directory.")
    manifest = verify(place)
    settings = _settings_of(place, data, environment)
    url = environment.get(DATABASE_URL) or settings.database_url
    _check_target(manifest, url)
    if as_original and manifest.get("node") is None:
        raise InvalidRequest(f"{place} does not say under which name its server ran: restore it without --as-original.")
    if manifest["store"] == POSTGRES and url is not None:
        asyncio.run(_postgres().check_empty(url))
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (place / CONFIG).exists():
        shutil.copyfile(place / CONFIG, data / CONFIG)
    if as_original:
        settings.node_file.write_text(f"{manifest['node']}\n")
        settings.node_file.chmod(0o644)
    users = choose_users(settings)
    _put_files(place, manifest, settings, environment)
    if users.apart and settings.blob_files.exists():
        for path in (settings.blob_files, *settings.blob_files.rglob("*")):
            os.chown(path, users.server, users.server, follow_symlinks=False)
    _put_log(place, manifest, settings, url)  # last: without it there is no server's data here
    places.prepare(settings, users)
    return settings


def _put_files(place: Path, manifest: Mapping[str, Any], settings: Settings, environment: Mapping[str, str]) -> None:
    if SECRETS in manifest["files"]:
        settings.vault_data.mkdir(mode=0o700)
        shutil.copyfile(place / SECRETS, settings.vault_secrets)
        settings.vault_secrets.chmod(0o600)
    if FILES in manifest["files"]:
        archives.unpack(place / FILES, settings.sandboxes / "sessions")
    if BLOBS in manifest["files"]:
        asyncio.run(archives.put_blobs(place / BLOBS, open_blobs(settings, environment)))


def _put_log(place: Path, manifest: Mapping[str, Any], settings: Settings, url: str | None) -> None:
    if manifest["store"] == POSTGRES and url is not None:
        asyncio.run(_postgres().restore(url, manifest["log"], place))
    elif manifest["store"] == SQLITE:
        draft = settings.database.with_suffix(".restoring")
        shutil.copyfile(place / LOG, draft)
        draft.chmod(0o600)
        copies.outdate(draft)
        draft.rename(settings.database)
    os.close(places.lock(settings.data))  # the file by which a server knows the directory as one of ours


def _check_source(settings: Settings, parts: Collection[Part]) -> None:
    if "log" in parts and settings.database_url is None and not settings.database.exists():
        raise NotFound(f"There is no server's data in {settings.data}.")
    if list(parts) == ["vault"] and not settings.vault_secrets.exists():
        raise NotFound(f"There are no stored secrets in {settings.data}.")
    if list(parts) == ["sandboxes"] and not settings.sandboxes.exists():
        raise NotFound(f"There are no sandboxes' files in {settings.data}.")


def _check_target(manifest: Mapping[str, Any], url: str | None) -> None:
    if manifest["store"] == POSTGRES and url is None:
        raise InvalidRequest(f"The backup's log is of PostgreSQL: name an empty database in {DATABASE_URL}.")
    if manifest["store"] == SQLITE and url is not None:
        raise InvalidRequest(
            f"The backup's log is of SQLite, and {DATABASE_URL} (server.database_url) names a database: unset it."
        )


def _settings_of(place: Path, data: Path, environment: Mapping[str, str]) -> Settings:
    """What the restored server will find."""
    kept = {"OUTRIDER_CONFIG": str(place / CONFIG)} if (place / CONFIG).exists() else {}
    return config.load({**kept, **environment}, data=data)


def _postgres() -> ModuleType:
    """Its driver need not be installed."""
    if find_spec("asyncpg") is None:
        raise InvalidRequest("A log of PostgreSQL needs the extra `postgres`: pip install 'outrider[postgres]'.")
    from outrider.store.postgres import copies as postgres

    return postgres


def _fill(
    draft: Path, settings: Settings, environment: Mapping[str, str], clock: Clock, parts: Collection[Part]
) -> dict[str, Any]:
    """The manifest of what was written."""
    facts: dict[str, Any] = {"store": None}
    if "log" in parts:
        blobs = open_blobs(settings, environment)
        url = environment.get(DATABASE_URL) or settings.database_url
        if url is not None:
            facts = {"store": POSTGRES, "log": asyncio.run(_copy_of_postgres(url, blobs, draft))}
        else:
            facts = {"store": SQLITE, "log": asyncio.run(_copy_of_sqlite(settings, blobs, draft))}
    if "vault" in parts and settings.vault_secrets.exists():
        copies.copy(settings.vault_secrets, draft / SECRETS)
    if "sandboxes" in parts:
        left = archives.pack(settings.sandboxes / "sessions", draft / FILES)
        facts |= {"left_out": asdict(left)} if left.count else {}
    if (settings.data / CONFIG).exists():
        shutil.copyfile(settings.data / CONFIG, draft / CONFIG)
    files = {file.name: _digest(file) for file in sorted(draft.iterdir())}
    node = settings.node_file.read_text().strip() if settings.node_file.exists() else None
    return {"format": FORMAT, "at": clock.now(), "outrider": __version__, "node": node, **facts, "files": files}


async def _copy_of_sqlite(settings: Settings, blobs: Blobs, draft: Path) -> dict[str, Any]:
    async def copy() -> Copied:
        log = draft / LOG
        log.unlink(missing_ok=True)
        await asyncio.to_thread(copies.copy, settings.database, log)
        facts = {"schema": copies.check(log)}
        return facts, await asyncio.to_thread(copies.blobs_of, log), await asyncio.to_thread(copies.cold_sessions, log)

    return await _with_blobs(copy, blobs, draft)


async def _copy_of_postgres(url: str, blobs: Blobs, draft: Path) -> dict[str, Any]:
    async def copy() -> Copied:
        made = await _postgres().copy(url, draft)
        return made.facts, made.blobs, made.cold

    return await _with_blobs(copy, blobs, draft)


async def _with_blobs(copy: Copying, blobs: Blobs, draft: Path) -> dict[str, Any]:
    """A blob may go between the two, with its session or when a cold log comes back: then once more."""
    missing = ""
    for _ in range(TRIES):
        facts, named, cold = await copy()
        try:
            await archives.pack_blobs(blobs, await _wanted(blobs, named, cold), draft / BLOBS)
        except NotFound as error:
            missing = error.message
            continue
        await blobs.close()
        return facts
    raise Conflict(f"The server deletes sessions faster than they can be copied ({missing}); try again.")


async def _wanted(blobs: Blobs, named: Collection[BlobKey], cold: Collection[tuple[str, str]]) -> list[BlobKey]:
    """What the copy refers to, and of cold sessions all there is: their rows, which refer to bodies, are blobs too."""
    wanted = set(named)
    for workspace, session in cold:
        wanted |= {info.key async for info in blobs.list(BlobPrefix(workspace, session))}
    return sorted(wanted)


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
