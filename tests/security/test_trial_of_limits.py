"""What tries a sandbox's limits for `doctor` sees where they do not hold; that they hold, its own test shows."""

from __future__ import annotations

import pytest

from outrider.cli import doctor_sandbox
from outrider.cli.findings import Findings
from outrider.errors import SandboxUnavailable
from outrider.ports.sandbox import ToolCall, ToolOutcome, text_outcome
from outrider.sandbox import trial
from outrider.sandbox.plan import Hold
from outrider.testing.memory_sandbox import MemorySandboxes
from outrider.testing.sandbox_host import ROOMY, SandboxHost, living

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


async def fails(call: ToolCall) -> ToolOutcome:
    return text_outcome("no such command", is_error=True)


class Stubborn(MemorySandboxes):
    """Nothing can be erased here."""

    async def delete(self, session: str) -> None:
        raise SandboxUnavailable("the disk is gone")


async def test_doctor_erases_its_sandbox_after_a_command_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    sandboxes, found = MemorySandboxes(fails), Findings()
    assert not await doctor_sandbox.try_commands(sandboxes, await sandboxes.probe(), found)
    assert found.failed
    assert "a first command failed: no such command" in capsys.readouterr().out
    assert await sandboxes.sweep(living()) == []


async def test_doctor_says_that_its_sandbox_can_not_be_erased(capsys: pytest.CaptureFixture[str]) -> None:
    sandboxes, found = Stubborn(), Findings()
    await doctor_sandbox.try_commands(sandboxes, await sandboxes.probe(), found)
    assert found.failed
    assert "could not be erased: the disk is gone" in capsys.readouterr().out
