"""Consistent copies of a database that servers are writing to: each table by COPY, as text, in one read-only
transaction that sees one moment. Needs no tools of the server's release, and its rows fit any release of the server.

Not in it: who works on the store and what each writer was last answered, since those processes are not there later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import zstandard

from outrider.errors import Internal, InvalidRequest
from outrider.ports.blobs import BlobKey
from outrider.ports.cold import Segment
from outrider.ports.files import content_of
from outrider.store import queries
from outrider.store.bodies import reference
from outrider.store.copied import EPOCHS_ROOM
from outrider.store.postgres import connections, poolers, problems
from outrider.store.postgres.migrations import PACKAGE, migrate
from outrider.store.postgres.transaction import Link, numbered
from outrider.store.scripts import shipped

SUFFIX = ".copy.zst"
STILL_SECONDS = 120.0  # without a byte
SCAN_SECONDS = 3600.0  # for a question that reads a whole table
PIECE = 256 * 1024
_QUERIES = {name: numbered(text) for name, text in queries.load(PACKAGE, "sql/copies.sql").items()}


class _Copier(Protocol):
    """What else we use of the driver's connection."""

    def transaction(
        self, *, isolation: str | None = None, readonly: bool = False
    ) -> AbstractAsyncContextManager[Any]: ...
    async def copy_from_query(self, query: str, *, output: Callable[[bytes], Awaitable[None]]) -> str: ...
    async def copy_to_table(
        self, table_name: str, *, source: AsyncGenerator[bytes], columns: list[str], format: str
    ) -> str: ...


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy's manifest must say, and what it refers to."""

    facts: dict[str, Any]
    blobs: list[BlobKey]
    cold: set[tuple[str, str]]


def newest() -> int:
    """The newest schema that this release knows."""
    return shipped(PACKAGE)[-1][0]


def check(facts: dict[str, Any], files: Collection[str]) -> None:
    """Raises InvalidRequest when the copy lacks a table's file, or is of a schema newer than this release knows."""
    if facts["schema"] > newest():
        raise InvalidRequest(
            f"The backup has schema version {facts['schema']}, and this release of outrider knows {newest()}: use a"
            " newer release."
        )
    if missing := [name for name in facts["tables"] if f"{name}{SUFFIX}" not in files]:
        raise InvalidRequest(f"The backup lacks the table {missing[0]}: it is damaged.")


async def copy(url: str, to: Path) -> Copy:
    """A file for each table in the directory `to`. Raises InvalidRequest, NotFound, Overloaded, Internal."""
    async with _connected(url, connections.to_read) as link:
        async with cast(_Copier, link).transaction(isolation="repeatable_read", readonly=True):
            version = await _schema(link, url)
            tables = {row["name"]: list(row["columns"]) for row in await _ask(link, "tables")}
            rows = {name: await _copy_table(link, name, columns, to) for name, columns in tables.items()}
            sequences = {row["name"]: row["last"] for row in await _ask(link, "sequences")}
            segments = await _ask(link, "segments")
            outside = await _ask(link, "outside")
            files = await _ask(link, "owned_by_files") if "files" in tables else []  # an older schema has none
            files += await _ask(link, "owned_by_skills") if "skill_versions" in tables else []
    facts = {
        "schema": version,
        "tables": {name: {"columns": columns, "rows": rows[name]} for name, columns in tables.items()},
        "sequences": sequences,
    }
    return Copy(facts, _blobs(segments, outside, files), {(row["workspace"], row["session"]) for row in segments})


async def check_empty(url: str) -> None:
    """Raises InvalidRequest unless the database can be reached and nothing is in it."""
    async with _connected(url, connections.to_write) as link:
        await _refuse_full(link, url)


async def restore(url: str, facts: dict[str, Any], place: Path) -> None:
    """All of a copy in one transaction, at the schema that it had. Raises InvalidRequest, Overloaded, Internal."""
    async with _connected(url, connections.to_write) as link, link.transaction():
        await _refuse_full(link, url)
        await migrate(link, shipped(PACKAGE)[: facts["schema"]])
        for name, table in facts["tables"].items():
            await _put_table(link, name, table["columns"], place)
        for name, last in facts["sequences"].items():
            await _ask(link, "resume_sequence", name=name, last=last)
        await _ask(link, "disown")
        await _ask(link, "outdate", room=EPOCHS_ROOM)


@asynccontextmanager
async def _connected(url: str, connect: Callable[[str], Awaitable[Link]]) -> AsyncGenerator[Link]:
    try:
        link = await connect(url)
        try:
            yield link
        finally:
            link.terminate()
    except poolers.SIGNS:
        raise poolers.refusal(connections.shown(url)) from None
    except problems.FAILURES as error:
        raise problems.translate(error, connections.shown(url)) from None


async def _ask(link: Link, query: str, **values: Any) -> list[Any]:
    text, names = _QUERIES[query]
    return await link.fetch(text, *[values[name] for name in names], timeout=SCAN_SECONDS)


async def _schema(link: Link, url: str) -> int:
    if await link.fetchval("SELECT to_regclass('schema_version')") is None:
        raise InvalidRequest(f"There is no server's data in the database at {connections.shown(url)}.")
    version: int = (await _ask(link, "schema"))[0]["version"]
    if version > newest():
        raise InvalidRequest(
            f"The database has schema version {version}, and this release of outrider knows {newest()}: back it up with"
            " the newer release."
        )
    return version


async def _refuse_full(link: Link, url: str) -> None:
    if found := await _ask(link, "anything"):
        raise InvalidRequest(
            f"The database at {connections.shown(url)} is not empty (it holds {found[0]['name']}): a backup is restored"
            " into a new one."
        )


async def _copy_table(link: Link, name: str, columns: list[str], to: Path) -> int:
    """How many rows it has."""
    names = ", ".join(f'"{column}"' for column in columns)
    with (to / f"{name}{SUFFIX}").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        async with asyncio.timeout(STILL_SECONDS) as patience:

            async def keep(piece: bytes) -> None:
                patience.reschedule(asyncio.get_running_loop().time() + STILL_SECONDS)
                squeezed.write(piece)

            done = await cast(_Copier, link).copy_from_query(f'SELECT {names} FROM "{name}"', output=keep)
    return int(done.rpartition(" ")[2])


async def _put_table(link: Link, name: str, columns: list[str], place: Path) -> None:
    with (place / f"{name}{SUFFIX}").open("rb") as file:
        async with asyncio.timeout(STILL_SECONDS) as patience:
            source = _pieces(file, patience)
            await cast(_Copier, link).copy_to_table(name, source=source, columns=columns, format="text")


async def _pieces(file: BinaryIO, patience: asyncio.Timeout) -> AsyncGenerator[bytes]:
    with zstandard.ZstdDecompressor().stream_reader(file) as plain:
        while piece := plain.read(PIECE):
            patience.reschedule(asyncio.get_running_loop().time() + STILL_SECONDS)
            yield piece


def _blobs(segments: list[Any], outside: list[Any], files: list[Any]) -> list[BlobKey]:
    found = {content_of(workspace, blob) for workspace, blob in files}
    for workspace, session, text in segments:
        if (segment := Segment.read(text)) is not None:
            found.add(BlobKey(workspace, session, segment.name))
    for workspace, session, body in outside:
        if (row := reference(body)) is None:
            raise Internal(f"A row of session {session} can't be read.")
        found.add(BlobKey(workspace, session, row.blob))
    return sorted(found)
