"""What `outrider doctor` finds out about sandboxes: whether one can be made here, and which of its limits hold."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.cli.findings import Findings
from outrider.cli.forks import child
from outrider.config import Settings
from outrider.errors import OutriderError, SandboxUnavailable

if TYPE_CHECKING:
    from outrider.ports.sandbox import Capabilities, Sandboxes

CALL_SECONDS = 60
SESSION = "sesn_doctor"


def sandbox(settings: Settings, found: Findings) -> bool:
    """Whether this host can isolate."""
    with tempfile.TemporaryDirectory(prefix="outrider-doctor-") as name:
        place = Path(name)
        place.chmod(0o711)
        with _zygote(settings, place):
            return asyncio.run(_try_sandbox(settings, place, found))


@contextmanager
def _zygote(settings: Settings, place: Path) -> Generator[None]:
    """A zygote of our own, forked before anything heavy is imported. Its sandboxes' limits are those of the trial."""
    from outrider.sandbox import plan, trial, zygote

    limits = replace(settings.limits, workspace_bytes=trial.WORKSPACE)
    options = plan.zygote_options(
        place / "root", place / "run", limits, strict=settings.strict_sandbox, hold=trial.HOLD, watch=trial.WATCH
    )
    with child(lambda: zygote.main(str(place / "z.sock"), options)):
        yield


async def _try_sandbox(settings: Settings, place: Path, found: Findings) -> bool:
    from outrider.sandbox.driver import BubblewrapSandboxes

    sandboxes = BubblewrapSandboxes(place / "root", place / "z.sock", place / "run", settings.limits)
    able = await sandboxes.probe()
    if not able.available:
        found.bad(f"sandbox: {able.problem}", able.fix)
        return False
    return await try_commands(sandboxes, able, found)


async def try_commands(sandboxes: Sandboxes, able: Capabilities, found: Findings) -> bool:
    """Whether a first command ran. However it went, the trial's sandbox is erased."""
    try:
        said = await _first_command(sandboxes)
        found.good(f"sandbox: {able.isolation} ({said})")
        await _try_limits(sandboxes, able.limits, found)
    except (OutriderError, TimeoutError) as error:
        found.bad(f"sandbox: a first command failed: {str(error) or 'it did not end'}")
        return False
    finally:
        await _erase(sandboxes, found)
    return True


async def _erase(sandboxes: Sandboxes, found: Findings) -> None:
    try:
        await sandboxes.delete(SESSION)
    except SandboxUnavailable as problem:
        found.bad(f"sandbox: the one that tried this could not be erased: {problem.message}")


async def _first_command(sandboxes: Sandboxes) -> str:
    from outrider.ports.sandbox import ToolCall

    start = time.monotonic()
    call = ToolCall("sevt_doctor", "sthr_doctor", "bash", {"command": "id -u; ls /"})
    async with asyncio.timeout(CALL_SECONDS):
        outcome = await sandboxes.execute(SESSION, call, epoch=1)
    if outcome.is_error:
        raise SandboxUnavailable(outcome.content[0]["text"])
    return f"first command after {(time.monotonic() - start) * 1000:.0f} ms"


async def _try_limits(sandboxes: Sandboxes, limits: Mapping[str, str], found: Findings) -> None:
    from outrider.sandbox import trial

    try:
        async for one in trial.tried(sandboxes, SESSION, limits):
            if one.held is None:
                found.note(f"{one.limit}: {one.how}")
            elif one.held:
                found.note(f"{one.limit}: {one.how}; tried, and it held")
            else:
                found.bad(f"{one.limit}: {one.how}; tried, and it did not hold", "do not run strangers' work here")
    except (OutriderError, TimeoutError) as error:
        found.bad(f"sandbox: its limits can't be tried: {str(error) or 'a command did not end'}")
