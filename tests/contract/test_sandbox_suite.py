"""The sandbox driver keeps the port's promises, both as whoever runs the tests and, under root, as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.sandbox.homed import HomedSandboxes
from outrider.testing.memory_placements import MemoryPlacements
from outrider.testing.sandbox_given import SUITE
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_memory_suite import MEMORY_SUITE
from outrider.testing.sandbox_suite import Check

EVERY = (*SUITE, *MEMORY_SUITE)
RUNNER = Path(__file__).with_name("sandbox_as_user.py")


@pytest.fixture(scope="module")
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost()
    host.start()
    yield host
    await host.close()


@pytest.mark.anyio
@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.__name__)
async def test_the_driver_keeps_the_promise_that(check: Check, host: SandboxHost) -> None:
    sandboxes = host.driver()
    session = f"sesn_{check.__name__}"[:48]
    await check(sandboxes, session)
    await sandboxes.delete(session)


@pytest.mark.anyio
@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.__name__)
async def test_a_home_of_sessions_keeps_the_promise_that(check: Check, host: SandboxHost) -> None:
    session = f"sesn_h_{check.__name__}"[:48]

    async def nobody(_node: str) -> bool:
        return False

    sandboxes = HomedSandboxes("node-1", host.driver(), MemoryPlacements(), nobody)
    await check(sandboxes, session)
    await sandboxes.delete(session)


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, the test above runs as an ordinary user already")
@pytest.mark.parametrize("half", [0, 1])
def test_an_ordinary_user_gets_the_same_promises(half: int) -> None:
    names = [check.__name__ for check in EVERY[half::2]]
    finished = subprocess.run(
        [sys.executable, str(RUNNER), *names], capture_output=True, text=True, timeout=55, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
