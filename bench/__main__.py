"""`python -m bench [part ...]`: measure, write bench/results/latest.json, and make docs/performance.md from it.

Run it on a quiet machine: it takes some five minutes, and other work on the cores shows in every figure.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from bench import (
    egress,
    files,
    latency,
    mcp,
    memory,
    mounts,
    postgres,
    readers,
    recovery,
    sandbox,
    store,
    vault,
    wake,
    webhooks,
)
from bench.about import about
from bench.deployment import Deployment, deployed
from bench.page import write_page

RESULTS = Path(__file__).parent / "results" / "latest.json"
ON_A_SERVER: dict[str, Callable[[Deployment], Awaitable[dict[str, Any]]]] = {
    "latency": latency.measure,
    "readers": readers.measure,
    "memory": memory.measure,
    "recovery": recovery.measure,
    "vault": vault.measure,
    "mcp": mcp.measure,
}
ALONE: dict[str, Callable[[], Any]] = {
    "store": store.measure,
    "postgres": postgres.measure,
    "sandbox": lambda: sandbox.measure(60),
    "mounts": mounts.measure,
    "egress": egress.measure,
    "files": lambda: asyncio.run(files.measure()),
    "wake": lambda: asyncio.run(wake.measure()),
    "webhooks": lambda: asyncio.run(webhooks.measure()),
}


def main() -> None:
    parts = sys.argv[1:] or [*ALONE, *ON_A_SERVER]
    found: dict[str, Any] = json.loads(RESULTS.read_text())["figures"] if RESULTS.exists() else {}
    for part in parts:
        load = os.getloadavg()[0]
        found[part] = (ALONE[part]() if part in ALONE else asyncio.run(_on_a_server(part))) | {"load before": load}
        print(json.dumps({part: _without_raw(found[part])}, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"about": about(), "figures": found}, indent=1) + "\n")
    write_page(RESULTS)


async def _on_a_server(part: str) -> dict[str, Any]:
    """Each part has a server of its own, so that what one leaves behind does not slow the next."""
    async with deployed() as deployment:
        return await ON_A_SERVER[part](deployment)


def _without_raw(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _without_raw(item) for key, item in items if key != "raw"}
    return value


main()
