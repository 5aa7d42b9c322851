"""Runs one check of the suite as an ordinary user: started as root, it imports, drops, and only then does anything."""

from __future__ import annotations

import asyncio
import os
import sys

from outrider.testing import sandbox_escapes, sandbox_given, sandbox_host, sandbox_memory_suite

USER = 54321


async def _run(host: sandbox_host.SandboxHost, names: list[str]) -> None:
    every = (*sandbox_given.SUITE, *sandbox_memory_suite.MEMORY_SUITE, *sandbox_escapes.ESCAPES)
    checks = {check.__name__: check for check in every}
    sandboxes = host.driver()
    try:
        able = await sandboxes.probe()
        assert able.available, able
        for name in names:
            await checks[name](sandboxes, f"sesn_{name}"[:48])
    finally:
        await host.close()


def main() -> None:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    os.environ["HOME"] = "/nonexistent"
    small = {check.__name__ for check in sandbox_escapes.ESCAPES} >= set(sys.argv[1:])
    host = (
        sandbox_host.SandboxHost(fork=True, limits=sandbox_escapes.LIMITS, hold=sandbox_escapes.HOLD)
        if small
        else sandbox_host.SandboxHost(fork=True)
    )
    host.start()
    asyncio.run(_run(host, sys.argv[1:]))


if __name__ == "__main__":
    main()
