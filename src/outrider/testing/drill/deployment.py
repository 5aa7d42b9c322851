"""Starts what a drill's shape names: the scripted model, the services, the relays, the servers; and opens their log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.models.scripted import running
from outrider.ports.log import EventLog
from outrider.store.sqlite import SqliteStore
from outrider.testing.drill import job
from outrider.testing.drill.fleet import Node
from outrider.testing.drill.services import Services, serving
from outrider.testing.drill.settings import Wiring, node_for
from outrider.testing.drill.shape import Shape

if TYPE_CHECKING:
    from outrider.store.postgres import PostgresStore


@dataclass(slots=True)
class Deployment:
    """`urls` are the API servers'; `log` reads what they wrote, apart from them."""

    nodes: list[Node]
    log: EventLog
    workspace: str

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes if "api" in node.shape.roles]


@asynccontextmanager
async def deployed(shape: Shape, folder: Path, key: str) -> AsyncGenerator[Deployment]:
    """`folder` is an empty directory with a short path that other users may enter."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(running(job.SCRIPT, keep=False))
        services = await stack.enter_async_context(serving(shape, folder))
        wiring = Wiring(shape, services, model.url, key, folder)
        nodes: list[Node] = []
        for one in shape.plan():
            node = await node_for(one, wiring, stack)
            stack.push_async_callback(node.stop)
            await node.start()
            nodes.append(node)
        log = await stack.enter_async_context(await _log(services, nodes[0]))
        yield Deployment(nodes, log, log.default_workspace)


async def _log(services: Services, first: Node) -> SqliteStore | PostgresStore:
    if services.database is None:
        return await SqliteStore.open(first.data / "outrider.db")
    from outrider.store.postgres import PostgresStore  # an extra, which a plain install has not

    return await PostgresStore.open(services.database.url)
