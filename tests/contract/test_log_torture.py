"""Random operations: a store must answer each as the store in memory does, and end with the same content."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from postgres_trial import fresh_store

from outrider.errors import OutriderError
from outrider.ports.log import HistoryQuery, Lease, NewEvent, SessionKey, SessionPatch, Snapshot
from outrider.ports.records import Page, SessionFilter
from outrider.ports.store import StorePorts
from outrider.store.sqlite import SqliteStore
from outrider.testing.memory_log import MemoryStore
from outrider.testing.store_trial import Trial, event, internal, processed, record, waiting

KEYS = [SessionKey(f"wrkspc_{w}", f"sesn_{n}") for w in "ab" for n in range(3)]
WORKERS = ["worker_1", "worker_2"]
KINDS = ["user.message", "agent.message", "agent.tool_use"]
Operation = Callable[[StorePorts], Awaitable[Any]]


class Player:
    """Draws operations. It remembers leases, heads and ids that were once true, so that many draws are stale."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._leases: list[Lease] = []
        self._appends: list[tuple[Lease, list[NewEvent]]] = []
        self._names: list[str] = ["nobody"]
        self._heads = dict.fromkeys(KEYS, 0)

    def at(self) -> str:
        return f"2026-01-01T00:00:{self._random.randrange(60):02}.000000Z"

    def events(self) -> list[NewEvent]:
        return [self._event() for _ in range(self._random.choice([0, 1, 1, 2, 4]))]

    def _event(self) -> NewEvent:
        fresh = f"sevt_{len(self._names)}"
        name = fresh if self._random.random() < 0.9 else self._random.choice(self._names)
        self._names.append(name)
        kind = self._random.choice(KINDS)
        made = [event(name, kind=kind, at=self.at()), internal(name), waiting(name, kind=kind)]
        taking_up = processed(name, self._random.choice(self._names), at=self.at())
        child = event(name, thread="sthr_child", at=self.at())
        return self._random.choice([*made, made[2], taking_up, taking_up, child])

    def head(self, key: SessionKey) -> int:
        return max(0, self._heads[key] + self._random.choice([0, 0, 0, 0, -1, 1]))

    def patch(self) -> SessionPatch | None:
        status = self._random.choice([None, "running", "idle"])
        return self._random.choice([None, SessionPatch(status=status, usage=b"%d" % len(self._names))])

    def lease(self) -> Lease:
        if not self._leases or self._random.random() < 0.05:
            return Lease(self._random.choice(KEYS), "worker_1", 1, 0, 0)
        recent = self._leases[-8:]
        return self._random.choice(recent)

    def draw(self) -> Operation:
        appends = [self.client, self.client, self.owned, self.owned, self.owned, self.repeat]
        claims = [self.claim, self.claim, self.give_up, self.bury, self.beat, self.surrender]
        return self._random.choice([*appends, *claims, self.create, self.update, self.delete])()

    def learn(self, answer: Any) -> None:
        """What the store in memory said is remembered for later draws."""
        leases = cast("list[Any]", answer) if isinstance(answer, list) else [answer]
        for lease in leases:
            if isinstance(lease, Lease):
                self._leases.append(lease)
                self._heads[lease.key] = lease.head

    def create(self) -> Operation:
        key, events, wake = self._random.choice(KEYS), self.events(), self._random.random() < 0.7
        new = record(key.session, workspace=key.workspace, created_at=self.at())
        return lambda store: store.create_session(new, events, wake=wake)

    def client(self) -> Operation:
        key, events, patch = self._random.choice(KEYS), self.events(), self.patch()
        if_head = self._random.choice([None, None, self.head(key)])
        wake = self._random.random() < 0.7
        return lambda store: store.append_client(key, events, if_head=if_head, patch=patch, wake=wake)

    def owned(self) -> Operation:
        lease, events, patch = self.lease(), self.events(), self.patch()
        if_head = self._random.choice([None, lease.head, self.head(lease.key)])
        release = if_head is not None and self._random.random() < 0.2
        snapshot = self._random.choice([None, None, Snapshot(lease.head, 1, b"%d" % lease.head)])
        self._appends.append((lease, events))
        return lambda store: store.append_owned(
            lease, events, patch=patch, snapshot=snapshot, if_head=if_head, release=release
        )

    def repeat(self) -> Operation:
        lease, events = self._random.choice(self._appends[-5:] or [(self.lease(), [])])
        return lambda store: store.append_owned(lease, events)

    def claim(self) -> Operation:
        worker, limit = self._random.choice(WORKERS), self._random.randrange(4)
        key = self._random.choice([None, None, self._random.choice(KEYS)])
        return lambda store: store.claim(worker, limit=limit, key=key)

    def give_up(self) -> Operation:
        lease = self.lease()
        if_head = self.head(lease.key)
        return lambda store: store.release(lease, if_head=if_head)

    def bury(self) -> Operation:
        worker = self._random.choice(WORKERS)
        return lambda store: store.bury(worker)

    def beat(self) -> Operation:
        worker = self._random.choice(WORKERS)
        return lambda store: store.beat(worker)

    def surrender(self) -> Operation:
        key, worker = self._random.choice(KEYS), self._random.choice(WORKERS)
        epoch = self._random.choice([None, self.lease().epoch])
        return lambda store: store.surrender(key, worker, epoch=epoch)

    def update(self) -> Operation:
        key, events = self._random.choice(KEYS), self.events()
        changed = replace(
            record(key.session, workspace=key.workspace), details=b"%d" % len(self._names), archived_at="2027"
        )
        columns, if_head = self._random.choice(["details", "archive"]), self.head(key)
        return lambda store: store.update_session(changed, events, if_head=if_head, columns=columns)  # type: ignore[arg-type]

    def delete(self) -> Operation:
        key = self._random.choice(KEYS)
        if_head = self.head(key) if self._random.random() < 0.5 else 999
        return lambda store: store.delete_session(key, if_head=if_head)


async def outcome(store: StorePorts, operation: Operation) -> Any:
    try:
        return await operation(store)
    except OutriderError as error:
        return type(error).__name__


async def content(store: StorePorts, key: SessionKey) -> dict[str, Any]:
    everything = HistoryQuery(limit=1000)
    queries = {
        "all": everything,
        "newest": HistoryQuery(limit=7, descending=True),
        "child": HistoryQuery(limit=50, thread="sthr_child"),
        "later": HistoryQuery(limit=50, created={"gte": "2026-01-01T00:00:30.000000Z"}, types=("user.message",)),
        "middle": HistoryQuery(limit=3, after=5),
        "back": HistoryQuery(limit=3, after=2**52 + 3, descending=True),
    }
    return {
        "record": await store.session(key),
        "rows": await store.read(key),
        "snapshot": await store.snapshot(key),
        **{name: await store.history(key, query) for name, query in queries.items()},
    }


@pytest.fixture(params=["sqlite", "postgres"])
async def trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Trial]:
    fresh = Trial()
    if request.param == "postgres":
        opened = await fresh_store(request.getfixturevalue("postgres"), on_commit=fresh.commit, on_delete=fresh.delete)
    else:
        opened = await SqliteStore.open(tmp_path / "log.db", on_commit=fresh.commit, on_delete=fresh.delete)
    async with opened as fresh.opened:
        yield fresh


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("burst", [1, 12])
async def test_the_stores_agree_operation_by_operation(seed: int, burst: int, trial: Trial) -> None:
    """A burst is handed over at once and shares commits, yet each is answered as if it came alone, in its turn."""
    store, model, player = trial.store, Trial(), Player(seed)
    memory: StorePorts = MemoryStore(on_commit=model.commit, on_delete=model.delete)
    for step in range(400 // burst):
        operations = [player.draw() for _ in range(burst)]
        expected = [await outcome(memory, operation) for operation in operations]
        assert await asyncio.gather(*(outcome(store, op) for op in operations)) == expected, f"step {step}"
        for answer in expected:
            player.learn(answer)
        if step % 10 == 9:
            for key in KEYS:
                assert await content(store, key) == await content(memory, key), f"step {step}"
    assert trial.commits == model.commits
    assert trial.deletions == model.deletions
    for workspace in ("wrkspc_a", "wrkspc_b"):
        page = Page(limit=9, include_archived=True)
        listed = await store.sessions(workspace, page, SessionFilter())
        assert listed == await memory.sessions(workspace, page, SessionFilter())
    assert await store.runnable() == await memory.runnable()
