"""A sandbox's way out as an ordinary user: started as root, it imports, drops, and only then does anything."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from egress_trial import Web, trial

USER = 54322


async def main() -> None:
    async with trial(fork=True) as room, Web().serving() as web:
        room.names = {"web.example": ["127.0.0.1"]}
        async with room.proxy(f"127.0.0.1:{web.port}"):
            room.claim("sesn_user")
            url = f"http://web.example:{web.port}"
            sys.stdout.write(await room.run("sesn_user", f"curl -sS {url}/one; curl -sS -p {url}/two") + "\n")
            sys.stdout.write(await room.run("sesn_user", "curl -sS --noproxy '' http://127.0.0.2/") + "\n")


if __name__ == "__main__":
    import_module("encodings.idna")  # the standard library imports it late, when this user can't reach it
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    asyncio.run(main())
