"""Runs the conformance suite of the doorbell ports on every exchange, and on one that misbehaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from outrider.ports.doorbell import Exchange
from outrider.testing.doorbell_suite import EXCHANGE_CONTRACTS
from outrider.testing.exchange_trial import ExchangeContract, ExchangeTrial, OnCommit
from outrider.testing.memory_log import MemoryStore
from outrider.testing.store_trial import Store
from outrider.testing.switchboard import Switchboard

pytestmark = pytest.mark.anyio


def in_process() -> ExchangeTrial:
    store, board = MemoryStore(shared=True), Switchboard()

    @asynccontextmanager
    async def link(on_commit: OnCommit) -> AsyncGenerator[tuple[Store, Exchange]]:
        yield store.branch(on_commit=on_commit), board.exchange()

    async def lose_connections() -> None:
        board.lose_connections()

    return ExchangeTrial(link, lose_connections)


@pytest.mark.parametrize("contract", EXCHANGE_CONTRACTS, ids=lambda contract: contract.__name__)
async def test_the_exchange_keeps_its_contract(contract: ExchangeContract) -> None:
    await contract(in_process())
