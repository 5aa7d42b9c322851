"""What tries a sandbox's limits for `doctor` sees where they do not hold; that they hold, its own test shows."""

from __future__ import annotations

import pytest

from outrider.sandbox import trial
from outrider.sandbox.plan import Hold
from outrider.testing.sandbox_host import ROOMY, SandboxHost

pytestmark = pytest.mark.anyio
LIMITED = {"memory", "file size", "memory file systems", "workspace", "processes"}


async def test_limits_that_are_not_reached_are_said_not_to_hold() -> None:
    host = SandboxHost(limits=ROOMY, hold=Hold(processes=2000))
    host.start()
    try:
        sandboxes = host.driver()
        limits = (await sandboxes.probe()).limits
        found = {one.limit: one.held async for one in trial.tried(sandboxes, "sesn_a", limits, patience=1.0)}
    finally:
        await host.close()
    assert found == dict.fromkeys(LIMITED, False) | {"network": True, "cpu": None}
