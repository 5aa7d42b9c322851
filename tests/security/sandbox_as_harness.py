"""Started as root: a zygote that stays root, asked by a harness of another user, and by a stranger who must fail."""

from __future__ import annotations

import asyncio
import os
import time

from outrider.errors import SandboxUnavailable
from outrider.sandbox import driver
from outrider.testing.sandbox_host import SandboxHost, living
from outrider.testing.sandbox_suite import Hands, raises

HARNESS, STRANGER = 54321, 54322


async def _use(host: SandboxHost) -> None:
    sandboxes = host.driver()
    assert await Hands(sandboxes, "sesn_a").bash("echo kept > f; cat f") == "kept"
    assert await Hands(host.driver(), "sesn_a", epoch=2).bash("cat f") == "kept"
    assert await sandboxes.sweep(living("sesn_a")) == []


async def _try(host: SandboxHost) -> None:
    driver.ZYGOTE_DEADLINE = 0.5
    await raises(SandboxUnavailable, Hands(host.driver(), "sesn_b").outcome("bash", {"command": "true"}))
    for path in (host.own("sesn_a"), host.own("sesn_a") / "workspace"):
        try:
            os.listdir(path)
        except PermissionError:
            continue
        raise AssertionError(path)


def _as(user: int, host: SandboxHost) -> None:
    """In a child with this user; raises if it fails."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            asyncio.run((_use if user == HARNESS else _try)(host))
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        raise AssertionError(f"user {user}")


def main() -> None:
    host = SandboxHost(fork=True)
    host.options["harness_uid"] = HARNESS
    host.start()
    while not host.control.exists():
        time.sleep(0.01)
    try:
        _as(HARNESS, host)
        _as(STRANGER, host)
    finally:
        asyncio.run(host.close())


if __name__ == "__main__":
    main()
