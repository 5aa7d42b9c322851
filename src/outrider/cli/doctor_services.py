"""What `outrider doctor` looks at beyond this host: PostgreSQL and NATS, where the settings name them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from outrider.cli.findings import Findings
from outrider.config import DATABASE_URL, NATS_URL
from outrider.errors import OutriderError


async def database(url: str, environment: Mapping[str, str], found: Findings) -> None:
    """Whether a server could start on it. `url` holds no password; the environment's may."""
    if find_spec("asyncpg") is None:
        return found.bad("database: the driver of PostgreSQL is missing", "pip install 'outrider[postgres]'")
    from outrider.store.postgres import health

    try:
        seen = await health.look(environment.get(DATABASE_URL) or url)
    except OutriderError as error:
        return found.bad(f"database: {error.message}", f"is {DATABASE_URL} (server.database_url) right?")
    for problem, fix in seen.problems:
        found.bad(f"database: {seen.place}: {problem}", fix)
    if not seen.problems:
        found.good(f"database: {seen.place}, PostgreSQL {seen.release} ({seen.round_trip * 1000:.1f} ms away)")
        found.note(_schema(seen.schema, seen.newest))
        if seen.pooled:
            found.note("behind a pooler that keeps sessions, as it must")
    return None


def _schema(found: int | None, newest: int) -> str:
    if found is None:
        return "no tables yet; the first start makes them"
    if found < newest:
        return f"schema version {found}; the next start changes it to {newest}"
    return f"schema version {found}, this release's"


async def nats(url: str, environment: Mapping[str, str], found: Findings) -> None:
    """Whether wakes and live tails could go over it. `url` holds no credentials; the environment's may."""
    if find_spec("nats") is None:
        return found.bad("NATS: its client is missing", "pip install 'outrider[nats]'")
    from outrider.doorbell import nats_health

    try:
        seen = await nats_health.look(environment.get(NATS_URL) or url)
    except OutriderError as error:
        return found.bad(f"NATS at {url}: {error.message}", f"is {NATS_URL} (server.nats_url) right?")
    if seen.without_jetstream is not None:
        reason = f"NATS at {url}: without JetStream ({seen.without_jetstream}) wakes are found by looking"
        return found.bad(reason, "turn JetStream on for this account")
    return found.good(f"NATS at {url}, {seen.release}, with JetStream ({seen.round_trip * 1000:.1f} ms away)")
