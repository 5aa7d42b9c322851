"""One worker of the SDK in a process of its own, to be killed or frozen: URL, environment, key and directory."""

from __future__ import annotations

import asyncio
import sys

from anthropic import AsyncAnthropic
from anthropic.lib.environments import EnvironmentWorker


async def main(url: str, environment: str, key: str, workdir: str) -> None:
    async with AsyncAnthropic(base_url=url, api_key="not-a-key") as client:
        worker = EnvironmentWorker(
            client, environment_id=environment, environment_key=key, workdir=workdir, max_idle=0.2
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
