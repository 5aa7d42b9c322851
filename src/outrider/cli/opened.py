"""The store of a data directory, opened beside a server or without one: as the server's user, so that it can go on."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from outrider import config
from outrider.errors import NotFound
from outrider.store.opening import Store, open_store
from outrider.supervisor import linux, reach
from outrider.supervisor.prelude import choose_users


@asynccontextmanager
async def opened_store(data: Path | None) -> AsyncGenerator[Store]:
    """Raises NotFound when no server has been started on this data, and what stores raise."""
    settings = config.load(os.environ, data=data)
    users = choose_users(settings)
    if settings.database_url is None and not settings.database.exists():
        raise NotFound(f"There is no server's data in {settings.data}: `outrider serve` makes it.")
    if users.apart:
        reach.open_code_to(users.server)
        linux.become(users.server)
    store = await open_store(settings, os.environ)
    try:
        yield store
    finally:
        await store.close()
