"""Nothing gets out of a sandbox: every attempt of the shipped list, as root and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outrider.testing import sandbox_escapes
from outrider.testing.sandbox_escapes import ESCAPES
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_suite import Check

RUNNER = Path(__file__).parents[1] / "contract" / "sandbox_as_user.py"


@pytest.fixture(scope="module")
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost(limits=sandbox_escapes.LIMITS, hold=sandbox_escapes.HOLD)
    host.start()
    yield host
    await host.close()


@pytest.mark.anyio
@pytest.mark.parametrize("check", ESCAPES, ids=lambda check: check.__name__)
async def test_the_sandbox_holds_because(check: Check, host: SandboxHost) -> None:
    sandboxes = host.driver()
    session = f"sesn_{check.__name__}"[:48]
    await check(sandboxes, session)
    await sandboxes.delete(session)


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, the test above runs as an ordinary user already")
@pytest.mark.parametrize("half", [0, 1])
def test_it_holds_for_an_ordinary_user_too(half: int) -> None:
    names = [check.__name__ for check in ESCAPES[half::2]]
    finished = subprocess.run(
        [sys.executable, str(RUNNER), *names], capture_output=True, text=True, timeout=55, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
