"""Runs the conformance suite of the port `blobs` on every blob store, and what is particular to each."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from s3_server import bucket, s3_server

from outrider.errors import BlobsUnavailable
from outrider.ports.blobs import BlobKey, BlobPrefix, Blobs
from outrider.store.blobs.local import LocalBlobs
from outrider.store.blobs.s3 import Bucket, open_s3
from outrider.testing.blobs_suite import BLOBS_CONTRACTS, Contract
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.store_trial import refused

KEY = BlobKey("wrkspc_a", "sesn_1", "body-1")


@pytest.fixture(scope="module")
def s3() -> Generator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=["memory", "local", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    made: Blobs = MemoryBlobs()
    if request.param == "local":
        made = LocalBlobs(tmp_path / "blobs")
    elif request.param == "s3":
        made = open_s3(bucket(request.getfixturevalue("s3"), tmp_path))
    yield made
    await made.close()


@pytest.mark.anyio
@pytest.mark.parametrize("contract", BLOBS_CONTRACTS, ids=lambda contract: contract.__name__)
async def test_the_blob_store_keeps_its_contract(contract: Contract, blobs: Blobs) -> None:
    await contract(blobs)


@pytest.mark.anyio
async def test_local_files_are_their_owners_alone(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put(KEY, b"x")
    for place in (tmp_path / "blobs").rglob("*"):
        assert stat.S_IMODE(place.stat().st_mode) == (0o700 if place.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700


@pytest.mark.anyio
async def test_a_dead_writers_draft_is_no_blob_and_goes_with_its_session(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put(KEY, b"x")
    (place,) = (path.parent for path in (tmp_path / "blobs").rglob("body-1"))
    (place / "draft~1-1").write_bytes(b"half")
    assert [str(info.key) async for info in blobs.list(BlobPrefix())] == [str(KEY)]
    await blobs.delete_all(BlobPrefix("wrkspc_a", "sesn_1"))
    assert not place.exists()


@pytest.mark.anyio
async def test_a_bucket_that_does_not_answer_is_a_clear_error_that_names_no_secret() -> None:
    blobs = open_s3(Bucket("nowhere", "", "http://127.0.0.1:9", "us-east-1", "key-id", "canary-secret"))
    for call in (blobs.put(KEY, b"x"), blobs.exists(KEY), blobs.delete(KEY)):
        with pytest.raises(BlobsUnavailable, match="does not answer") as raised:
            await call
        assert "canary-secret" not in f"{raised.value!r} {raised.value.__cause__!r}"
    await refused(BlobsUnavailable, anext(blobs.get(KEY)))
    assert "canary-secret" not in repr(Bucket("b", "", None, "r", "k", "canary-secret"))
