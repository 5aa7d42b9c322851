"""Ending tasks whose libraries can lose a cancellation: before Python 3.12 `asyncio.wait_for` returns, as if nothing
had been asked, when what it waits for comes at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_SECONDS = 1.0


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them until they are done. What they raise is not told."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
        await asyncio.gather(*done, return_exceptions=True)  # or the loop would say that nobody asked
