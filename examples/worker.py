"""A worker: runs the tools of one self-hosted environment's sessions here, on this machine, one session at a time.

It brings the skills and memory stores of a session along by itself, and takes them away when the session rests.
"""

import asyncio
import os
import platform
import signal

from anthropic import AsyncAnthropic, beta_async_tool
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401


@beta_async_tool
async def machine() -> str:
    """Tell what the machine runs that the tools act on."""
    return f"{platform.system()} on {platform.machine()}"


def tools(context: AgentToolContext):
    """The built-in ones, and one of our own. Agents know it as a custom tool of the same name."""
    return [*beta_agent_toolset_20260401(context), machine]


async def main() -> None:
    async with AsyncAnthropic(api_key="unused") as client:  # all it may do, it may do by the environment's key
        worker = client.beta.environments.work.worker(
            environment_id=os.environ["ANTHROPIC_ENVIRONMENT_ID"],
            environment_key=os.environ["ANTHROPIC_ENVIRONMENT_KEY"],
            workdir=os.environ.get("WORKER_DIRECTORY", "."),
            tools=tools,
            max_idle=float(os.environ.get("WORKER_MAX_IDLE", "60")),
        )
        serving = asyncio.ensure_future(worker.run())
        for ending in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(ending, serving.cancel)  # the session goes to another worker
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()  # it ends by itself only if its key or its environment is refused


asyncio.run(main())
