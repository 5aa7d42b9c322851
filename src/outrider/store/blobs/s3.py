"""Blobs in an S3-compatible bucket. Needs the extra `s3`; knows one bucket, a prefix in it, and one set of credentials.

Writes are one request, or a multipart upload that becomes visible when it is complete. The client retries briefly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from outrider.errors import BlobsUnavailable, InvalidRequest, NotFound, OutriderError
from outrider.ports.blobs import BlobInfo, BlobKey, BlobPrefix

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

CONNECT = timedelta(seconds=5)
REQUEST = timedelta(seconds=60)
RETRYING = timedelta(seconds=10)
RETRIES = 3
CALL_SECONDS = 120.0
UPLOAD_SECONDS = 900.0  # a whole log, in parts
PIECE = 1024 * 1024
DELETED_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the blobs go. `endpoint` None: the provider's own. The secret is kept out of its text."""

    name: str
    prefix: str
    endpoint: str | None
    region: str
    key_id: str
    secret: str = field(repr=False)


def open_s3(bucket: Bucket) -> S3Blobs:
    """Raises InvalidRequest when the extra is missing. Makes no request."""
    try:
        from obstore.store import S3Store
    except ImportError:
        raise InvalidRequest("[blobs] url: s3:// needs the extra `s3`: pip install 'outrider[s3]'.") from None
    config: S3Config = {"region": bucket.region, "access_key_id": bucket.key_id, "secret_access_key": bucket.secret}
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    plain = (bucket.endpoint or "").startswith("http://")
    store = S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,
        client_options={"allow_http": plain, "connect_timeout": CONNECT, "timeout": REQUEST},
        retry_config={"max_retries": RETRIES, "retry_timeout": RETRYING},
    )
    return S3Blobs(store)


class S3Blobs:
    """Implements `Blobs`. Made by `open_s3`."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    async def put(self, key: BlobKey, content: bytes | AsyncIterable[bytes]) -> None:
        import obstore

        async with _asking(key, UPLOAD_SECONDS):
            if isinstance(content, bytes):
                await obstore.put_async(self._store, str(key), content)
            else:
                await self._upload(key, content)

    async def _upload(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        import obstore

        async with obstore.open_writer_async(self._store, str(key)) as writer:
            async for piece in content:
                await writer.write(piece)

    async def get(self, key: BlobKey) -> AsyncIterator[bytes]:
        import obstore

        async with _asking(key, CALL_SECONDS):
            found = await obstore.get_async(self._store, str(key))
            pieces = found.stream(min_chunk_size=PIECE)
        while True:
            async with _asking(key, CALL_SECONDS):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def exists(self, key: BlobKey) -> bool:
        import obstore

        try:
            async with _asking(key, CALL_SECONDS):
                await obstore.head_async(self._store, str(key))
        except NotFound:
            return False
        return True

    async def delete(self, key: BlobKey) -> None:
        await self._delete([str(key)])

    async def delete_all(self, prefix: BlobPrefix) -> int:
        keys = [str(info.key) async for info in self.list(prefix)]
        for start in range(0, len(keys), DELETED_AT_ONCE):
            await self._delete(keys[start : start + DELETED_AT_ONCE])
        return len(keys)

    async def _delete(self, paths: list[str]) -> None:
        import obstore

        async with _asking(", ".join(paths[:1]), CALL_SECONDS):
            await obstore.delete_async(self._store, paths)

    async def list(self, prefix: BlobPrefix) -> AsyncIterator[BlobInfo]:
        import obstore

        start = "/".join(part for part in (prefix.workspace, prefix.owner) if part)
        pages = obstore.list(self._store, prefix=start or None, return_arrow=False)  # pyright: ignore[reportUnknownMemberType]
        while True:
            async with _asking(start, CALL_SECONDS):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                parts = found["path"].split("/")
                if len(parts) == 3:
                    yield BlobInfo(BlobKey(*parts), found["size"])

    async def close(self) -> None:
        """Connections are let go of with the object."""


@asynccontextmanager
async def _asking(what: BlobKey | str, seconds: float) -> AsyncGenerator[None]:
    """A deadline, and errors of our tree instead of the client's."""
    from obstore.exceptions import BaseError

    try:
        async with asyncio.timeout(seconds):
            yield
    except (BaseError, OSError, TimeoutError) as error:
        raise _translated(error, what) from None  # the client's texts may hold signed addresses


def _translated(error: Exception, what: BlobKey | str) -> OutriderError:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    if isinstance(error, FileNotFoundError):
        return NotFound(f"Blob {what} was not found.")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return BlobsUnavailable("The blob store refuses this server's credentials. Nothing was stored.", retry_after=5)
    return BlobsUnavailable("The blob store does not answer. Nothing was stored; try again.", retry_after=1)
