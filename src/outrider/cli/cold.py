"""What `outrider session cold` does, beside a server or without one: as the server's user, so that it can go on."""

from __future__ import annotations

import os
from pathlib import Path

from outrider import config
from outrider.errors import Conflict, NotFound
from outrider.store.opening import Stores, open_stores
from outrider.supervisor import linux, reach
from outrider.supervisor.prelude import choose_users

EVER = "9999"  # later than every time


async def move(session: str, data: Path | None) -> int:
    """How many rows were moved. Raises NotFound, Conflict when the session is not at rest, and what stores raise."""
    settings = config.load(os.environ, data=data)
    users = choose_users(settings)
    if settings.database_url is None and not settings.database.exists():
        raise NotFound(f"There is no server's data in {settings.data}.")
    if users.apart:
        reach.open_code_to(users.server)
        linux.become(users.server)
    stores = await open_stores(settings, os.environ, on_commit=lambda _key, _rows: None)
    try:
        return await _move(stores, session)
    finally:
        await stores.rows.close()
        await stores.blobs.close()


async def _move(stores: Stores, session: str) -> int:
    for key in await stores.rows.resting(EVER, 2**31):
        if key.session == session:
            if await stores.freezer.freeze(key):
                return await stores.rows.head(key)
            break
    raise Conflict(f"Session {session} is not at rest here: it is running, cold already, or unknown.")
