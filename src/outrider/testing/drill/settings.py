"""What each server of a drill is told: its config file, its environment, and by which relays it reaches the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from outrider.testing.drill import hosts
from outrider.testing.drill.fleet import Node, Way
from outrider.testing.drill.services import Services
from outrider.testing.drill.shape import NodeShape, Shape
from outrider.testing.ports import free_port
from outrider.testing.relay import Relay

LIMITS = "[limits]\nbackoff_first = 0.1\nbackoff_most = 1.0\nlive_sandboxes = 1000\nrunning_sessions = 1000\n"
MODEL_KEY = "model-key-of-the-drill"

Through = Callable[[str, tuple[str, int]], Awaitable[tuple[str, int]]]
"""Makes a way, named so, to an address, and gives the address of its near end."""


@dataclass(slots=True)
class Wiring:
    """What is known of the deployment so far: `peers` are the ports on which servers take other servers' work, `links`
    counts those between hosts."""

    shape: Shape
    services: Services
    model_url: str
    key: str
    folder: Path
    peers: dict[str, int] = field(default_factory=dict[str, int])
    links: int = 0


async def node_for(shape: NodeShape, wiring: Wiring, stack: AsyncExitStack) -> Node:
    """A server that is not started yet. `stack` closes its relays."""
    data = wiring.folder / shape.name
    data.mkdir(mode=0o711)
    ways: dict[str, Way] = {}
    host = await stack.enter_async_context(hosts.host()) if wiring.shape.has_host(shape) else None

    async def through(name: str, address: tuple[str, int]) -> tuple[str, int]:
        if host is None:
            way: Way = await stack.enter_async_context(Relay(*address).running())
        else:
            wiring.links += 1
            way = await stack.enter_async_context(host.link(wiring.links, address))
        ways[name] = way
        return way.address, way.port

    environment = await _environment(shape, wiring, through)
    (data / "config.toml").write_text((wiring.shape.config or LIMITS) + _tables(shape, wiring))
    prefix = (*(() if host is None else host.prefix), *(hosts.PLAIN if wiring.shape.hosts else ()))
    return Node(shape, data, environment, _options(shape, wiring), ways, prefix)


def _options(shape: NodeShape, wiring: Wiring) -> tuple[str, ...]:
    roles = ("--role", ",".join(shape.roles)) if wiring.shape.apart else ()
    return ("--port", str(free_port()), *roles)


async def _environment(shape: NodeShape, wiring: Wiring, through: Through) -> dict[str, str]:
    roles, services = set(shape.roles), wiring.services
    found = {"OUTRIDER_MODEL_URL": wiring.model_url}
    if "vault" in roles:
        found["OUTRIDER_MODEL_KEY"] = MODEL_KEY
    if roles & {"api", "harness"}:
        found["OUTRIDER_API_KEY"] = wiring.key
        if services.database is not None:
            found["OUTRIDER_DATABASE_URL"] = services.database.at(*await through("database", services.database.address))
        if services.nats is not None:
            found["OUTRIDER_NATS_URL"] = services.nats.at(*await through("nats", services.nats.address))
    if roles == {"harness"}:
        ways = {name: await through(name, ("127.0.0.1", port)) for name, port in wiring.peers.items()}
        urls = {name: f"https://{host}:{port}" for name, (host, port) in ways.items()}
        found["OUTRIDER_VAULT_URL"] = urls.pop("vault1")
        found["OUTRIDER_SANDBOX_HOSTS"] = ",".join(f"{name}={url}" for name, url in urls.items())
    return found


def _tables(shape: NodeShape, wiring: Wiring) -> str:
    """The part of the config file that says how this server and its peers meet."""
    place = wiring.services.certificates
    if place is None or shape.roles == ("api",):
        return ""
    peers = f"[peers]\nca = '{place}/ca.pem'\ncert = '{place}/{shape.name}.pem'\nkey = '{place}/{shape.name}.key'\n"
    listens = {"vault": "[server]\nvault_listen", "sandbox": "[sandbox]\nlisten"}.get(shape.roles[0])
    if listens is None:
        return peers
    wiring.peers[shape.name] = free_port()
    return f'{peers}{listens} = "127.0.0.1:{wiring.peers[shape.name]}"\n'
