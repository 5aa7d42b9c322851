"""The contract of the port `blobs`, one function a promise: every blob store must keep all of them.

Not covered: durability, which needs a process to kill, and full or silent stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from outrider.errors import NotFound
from outrider.ports.blobs import BlobKey, BlobPrefix, Blobs, read_whole
from outrider.testing.store_trial import refused

Contract = Callable[[Blobs], Awaitable[None]]
BLOBS_CONTRACTS: list[Contract] = []
ONE = BlobKey("wrkspc_a", "sesn_1", "body-1")


def contract(function: Contract) -> Contract:
    BLOBS_CONTRACTS.append(function)
    return function


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def names(blobs: Blobs, prefix: BlobPrefix) -> list[str]:
    return sorted([str(info.key) async for info in blobs.list(prefix)])


@contract
async def what_is_put_is_got_again(blobs: Blobs) -> None:
    content = bytes(range(256)) * 1024
    await blobs.put(ONE, content)
    assert await read_whole(blobs, ONE) == content
    assert await blobs.exists(ONE)


@contract
async def an_empty_blob_is_a_blob(blobs: Blobs) -> None:
    await blobs.put(ONE, b"")
    assert await read_whole(blobs, ONE) == b""
    assert await blobs.exists(ONE)


@contract
async def a_blob_of_many_megabytes_comes_and_goes_in_pieces(blobs: Blobs) -> None:
    await blobs.put(ONE, pieces(*(b"%07d\n" % n * 128 * 1024 for n in range(12))))
    whole = await read_whole(blobs, ONE)
    assert len(whole) == 12 * 1024 * 1024
    assert whole[:8] == b"0000000\n"
    assert whole[-8:] == b"0000011\n"


@contract
async def a_second_put_replaces_the_first(blobs: Blobs) -> None:
    await blobs.put(ONE, b"first, and longer")
    await blobs.put(ONE, b"second")
    assert await read_whole(blobs, ONE) == b"second"
    assert [info.size async for info in blobs.list(BlobPrefix())] == [6]


@contract
async def a_stream_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise NotFound("the source broke")

    await refused(NotFound, blobs.put(ONE, broken()))
    assert not await blobs.exists(ONE)
    assert await names(blobs, BlobPrefix()) == []


@contract
async def an_unknown_blob_is_not_found(blobs: Blobs) -> None:
    await refused(NotFound, read_whole(blobs, ONE))
    assert not await blobs.exists(ONE)
    await blobs.delete(ONE)


@contract
async def a_deleted_blob_is_gone(blobs: Blobs) -> None:
    await blobs.put(ONE, b"x")
    await blobs.delete(ONE)
    await refused(NotFound, read_whole(blobs, ONE))
    assert await names(blobs, BlobPrefix()) == []


@contract
async def lists_know_workspaces_and_sessions_apart(blobs: Blobs) -> None:
    for workspace, session in (("wrkspc_a", "sesn_1"), ("wrkspc_a", "sesn_10"), ("wrkspc_b", "sesn_1")):
        for name in ("body-1", "body-2"):
            await blobs.put(BlobKey(workspace, session, name), b"x")
    one = BlobPrefix("wrkspc_a", "sesn_1")
    assert await names(blobs, one) == ["wrkspc_a/sesn_1/body-1", "wrkspc_a/sesn_1/body-2"]
    assert len(await names(blobs, BlobPrefix("wrkspc_a"))) == 4
    assert len(await names(blobs, BlobPrefix())) == 6
    assert await names(blobs, BlobPrefix("wrkspc_c")) == []


@contract
async def a_sessions_blobs_are_deleted_together_and_no_others(blobs: Blobs) -> None:
    for session in ("sesn_1", "sesn_10"):
        for n in range(3):
            await blobs.put(BlobKey("wrkspc_a", session, f"body-{n}"), b"x")
    assert await blobs.delete_all(BlobPrefix("wrkspc_a", "sesn_1")) == 3
    assert await blobs.delete_all(BlobPrefix("wrkspc_a", "sesn_1")) == 0
    assert len(await names(blobs, BlobPrefix())) == 3


@contract
async def several_may_delete_the_same_at_once(blobs: Blobs) -> None:
    one = BlobPrefix("wrkspc_a", "sesn_1")
    for _ in range(5):
        await asyncio.gather(*(blobs.put(BlobKey("wrkspc_a", "sesn_1", f"body-{n}"), b"x") for n in range(20)))
        counts = await asyncio.gather(*(blobs.delete_all(one) for _ in range(4)))
        assert max(counts) <= 20
        assert await names(blobs, one) == []


@contract
async def long_lists_are_whole(blobs: Blobs) -> None:
    for n in range(1100):
        await blobs.put(BlobKey("wrkspc_a", f"sesn_{n % 7}", f"body-{n}"), b"x")
    assert len(await names(blobs, BlobPrefix())) == 1100
    assert await blobs.delete_all(BlobPrefix()) == 1100


@contract
async def keys_that_could_leave_their_place_are_no_keys(_blobs: Blobs) -> None:
    for part in ("", ".", "..", "a/b", ".hidden", "a\0", "draft~1"):
        for names_of in ((part, "s", "n"), ("w", part, "n"), ("w", "s", part)):
            try:
                BlobKey(*names_of)
            except ValueError:
                continue
            raise AssertionError(f"{part!r} was taken")
