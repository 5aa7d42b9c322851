"""What a drill runs on and what it does to it, as data. Checked when made; knows no process."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

from outrider.errors import InvalidRequest

ROLES = ("api", "harness", "sandbox", "vault")
FAULTS = ("kill", "freeze", "cut")


@dataclass(frozen=True, slots=True)
class NodeShape:
    """One `outrider serve`, with a data directory of its own."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """One server with all roles, or so many servers of each role `apart`. `database` and `nats` None: the drill starts
    a PostgreSQL and a NATS of its own where the shape needs them. `config` is the text of a config file for each.
    `hosts`: each harness is on a host of its own, a network namespace.
    """

    store: str = "sqlite"
    apart: dict[str, int] = field(default_factory=dict[str, int])
    with_nats: bool = False
    database: str | None = None
    nats: str | None = None
    config: str = ""
    hosts: bool = False

    def __post_init__(self) -> None:
        if self.store not in ("sqlite", "postgres"):
            raise InvalidRequest(f"store: sqlite or postgres, not {self.store}")
        if self.store == "sqlite" and (self.apart or self.with_nats):
            raise InvalidRequest("store: sqlite is for one server with all roles and without NATS")
        if self.hosts and not self.apart:
            raise InvalidRequest("--hosts: needs --apart, because only harnesses are put on hosts of their own")
        unknown = sorted(set(self.apart) - set(ROLES))
        if unknown:
            raise InvalidRequest(f"role {unknown[0]}: one of {', '.join(ROLES)}")
        missing = [role for role in ROLES if self.apart and not self.apart.get(role)]
        if missing:
            raise InvalidRequest(f"roles apart: at least one {missing[0]} is needed")
        if self.apart.get("vault", 1) > 1:
            raise InvalidRequest("roles apart: one vault, because a harness knows one")
        _check_installed("postgres", "asyncpg", needed=self.store == "postgres")
        _check_installed("nats", "nats", needed=self.with_nats)

    def has_host(self, server: NodeShape) -> bool:
        return self.hosts and server.roles == ("harness",)

    def links(self) -> int:
        """How many links there are between hosts: from each harness to each service that it uses."""
        services = 1 + self.with_nats + self.apart.get("vault", 0) + self.apart.get("sandbox", 0)
        return self.apart.get("harness", 0) * services if self.hosts else 0

    def plan(self) -> list[NodeShape]:
        if not self.apart:
            return [NodeShape("server1", ROLES)]
        return [
            NodeShape(f"{role}{number}", (role,))
            for role in ("vault", "sandbox", "harness", "api")
            for number in range(1, self.apart[role] + 1)
        ]


@dataclass(frozen=True, slots=True)
class Load:
    """`sessions` at once, each doing round after round for `seconds`; a fault of `faults` every `every` seconds (0:
    none). `seed` makes the choice of faults repeatable; their moment within a process is not."""

    sessions: int = 10
    seconds: float = 30.0
    every: float = 1.0
    faults: tuple[str, ...] = FAULTS
    seed: int = 1
    readers: int = 10

    def __post_init__(self) -> None:
        unknown = sorted(set(self.faults) - set(FAULTS))
        if unknown:
            raise InvalidRequest(f"fault {unknown[0]}: one of {', '.join(FAULTS)}")
        if self.sessions < 1 or self.seconds <= 0 or self.every < 0 or self.readers < 0:
            raise InvalidRequest("sessions, minutes, every and readers can't be negative, nor the first two zero")


def _check_installed(extra: str, driver: str, *, needed: bool) -> None:
    if needed and find_spec(driver) is None:
        raise InvalidRequest(f"{extra}: this shape needs the extra `{extra}`: pip install 'outrider[{extra}]'.")
