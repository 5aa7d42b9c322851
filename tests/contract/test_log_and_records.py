"""Runs the conformance suites of the stores' ports on every store, those of the log, of records and of queues alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres_trial import fresh_store

from outrider.store.bodies import Bodies
from outrider.store.cold import Freezer
from outrider.store.deep import deepen
from outrider.store.sqlite import SqliteStore
from outrider.testing.access_suite import ACCESS_CONTRACTS
from outrider.testing.answers_suite import ANSWERS_CONTRACTS
from outrider.testing.cold_suite import COLD_CONTRACTS
from outrider.testing.deployments_suite import DEPLOYMENT_CONTRACTS
from outrider.testing.dreams_suite import DREAM_CONTRACTS
from outrider.testing.environments_suite import ENVIRONMENT_CONTRACTS
from outrider.testing.files_suite import FILES_CONTRACTS
from outrider.testing.log_history_suite import HISTORY_CONTRACTS
from outrider.testing.log_lease_suite import LEASE_CONTRACTS
from outrider.testing.log_suite import LOG_CONTRACTS
from outrider.testing.log_worker_suite import WORKER_CONTRACTS
from outrider.testing.memories_suite import MEMORIES_CONTRACTS
from outrider.testing.memory_blobs import MemoryBlobs
from outrider.testing.memory_log import MemoryStore
from outrider.testing.placements_suite import PLACEMENT_CONTRACTS
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.records_suite import RECORDS_CONTRACTS
from outrider.testing.skills_suite import SKILLS_CONTRACTS
from outrider.testing.store_trial import Contract, Trial
from outrider.testing.vaults_suite import VAULTS_CONTRACTS
from outrider.testing.webhooks_suite import WEBHOOKS_CONTRACTS, WEBHOOKS_IN_ROWS
from outrider.testing.work_suite import WORK_CONTRACTS

OF_LOGS = [
    *LOG_CONTRACTS,
    *LEASE_CONTRACTS,
    *WORKER_CONTRACTS,
    *HISTORY_CONTRACTS,
    *RECORDS_CONTRACTS,
    *ENVIRONMENT_CONTRACTS,
    *ANSWERS_CONTRACTS,
]
CONTRACTS = [
    *OF_LOGS,
    *VAULTS_CONTRACTS,
    *FILES_CONTRACTS,
    *MEMORIES_CONTRACTS,
    *SKILLS_CONTRACTS,
    *DEPLOYMENT_CONTRACTS,
    *DREAM_CONTRACTS,
    *PLACEMENT_CONTRACTS,
    *ACCESS_CONTRACTS,
    *WEBHOOKS_CONTRACTS,
    *WORK_CONTRACTS,
]
"""What callers of the ports see: the layer over a store keeps these too."""


@pytest.fixture(params=["sqlite", "postgres", "memory"])
async def trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Trial]:
    fresh = Trial()
    if request.param == "memory":
        fresh.opened = MemoryStore(on_commit=fresh.commit, on_delete=fresh.delete)
        yield fresh
    elif request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        async with await fresh_store(server, on_commit=fresh.commit, on_delete=fresh.delete) as fresh.opened:
            yield fresh
    else:
        opened = await SqliteStore.open(tmp_path / "log.db", on_commit=fresh.commit, on_delete=fresh.delete)
        async with opened as fresh.opened:
            yield fresh


@pytest.mark.anyio
@pytest.mark.parametrize(
    "contract", [*CONTRACTS, *COLD_CONTRACTS, *WEBHOOKS_IN_ROWS], ids=lambda contract: contract.__name__
)
async def test_the_store_keeps_its_contract(contract: Contract, trial: Trial) -> None:
    await contract(trial)


@pytest.fixture
async def deep_trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Trial]:
    """A store under the layer, with every body outside of it. What has no bodies passes the layer the same way to
    either store."""
    blobs, fresh = MemoryBlobs(), Trial()
    bodies = Bodies(blobs, fresh.commit, largest_in_row=0)
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        async with await fresh_store(server, on_commit=bodies.committed, on_delete=fresh.delete) as opened:
            fresh.opened = deepen(opened, bodies, Freezer(opened, blobs), blobs)
            yield fresh
    else:
        path = tmp_path / "log.db"
        async with await SqliteStore.open(path, on_commit=bodies.committed, on_delete=fresh.delete) as opened:
            fresh.opened = deepen(opened, bodies, Freezer(opened, blobs), blobs)
            yield fresh


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("deep_trial", "contract"),
    [*(("sqlite", one) for one in CONTRACTS), *(("postgres", one) for one in OF_LOGS)],
    indirect=["deep_trial"],
    ids=lambda given: getattr(given, "__name__", given),
)
async def test_a_store_with_every_body_outside_of_it_keeps_its_contract(contract: Contract, deep_trial: Trial) -> None:
    await contract(deep_trial)
