"""`outrider doctor`: tries what a server here would need, and says how to mend what fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider import config
from outrider.cli.doctor_sandbox import sandbox
from outrider.cli.doctor_services import database, nats
from outrider.cli.findings import Findings
from outrider.cli.options import data_option
from outrider.cli.package_clients import CLIENTS, Asked
from outrider.config import Settings
from outrider.errors import OutriderError

if TYPE_CHECKING:
    from outrider.endpoints import Endpoint, Endpoints
    from outrider.models.probe import ProbeReport

NO_ISOLATION = 3  # exit code
SYNC_ROUNDS = 20
CALL_SECONDS = 60


@click.command(short_help="Check sandboxes, models, database, NATS, disk.")
@click.option("--model", "models", multiple=True, help="Probe this model; may be repeated.  [default: one an endpoint]")
@click.option("--no-model", is_flag=True, help="Send nothing to a model.")
@click.option("--learn-package-hosts", is_flag=True, help="Only find out which hosts package managers ask.")
@click.option("--manager", "managers", multiple=True, help="Learn of this package manager.  [default: all]")
@click.option("--example", "examples", multiple=True, metavar="MANAGER=PACKAGE", help="Learn with this package.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for the package managers.")
@click.option("--yes", is_flag=True, help="Write the learned hosts into the config file without a question.")
@data_option
def doctor(
    models: tuple[str, ...],
    no_model: bool,
    learn_package_hosts: bool,
    managers: tuple[str, ...],
    examples: tuple[str, ...],
    variables: tuple[str, ...],
    yes: bool,
    data: Path | None,
) -> None:
    """Check this host: sandboxes, model endpoints, the database, NATS where it is set, disk.

    Each limit of a sandbox is tried, in one with small limits. Each model probe is one short streaming request with a
    tool. Exit code 3: no isolation here; 1: another failure.

    With --learn-package-hosts: run each installed package manager (apt, cargo, gem, go, npm, pip) in a sandbox, see
    which hosts it asks for a small package, and write them into the config file, for environments that let package
    managers in.
    """
    environment = dict(os.environ)
    settings = config.load(environment, data=data)
    found = Findings()
    if learn_package_hosts:
        place = config.place_of_config(environment, settings.data)
        _learn(settings, place, found, _asked(managers, examples, variables), sure=yes)
        sys.exit(1 if found.failed else 0)
    isolated = sandbox(settings, found)
    if settings.database_url is None:
        _database(settings, found)
    else:
        asyncio.run(database(settings.database_url, environment, found))
    if settings.nats_url is not None:
        asyncio.run(nats(settings.nats_url, environment, found))
    _disk(settings, found)
    if not no_model:
        asyncio.run(_models(settings, environment, models, found))
    sys.exit(NO_ISOLATION if not isolated else 1 if found.failed else 0)


# -- package managers


def _learn(settings: Settings, place: Path, found: Findings, asked: Asked, *, sure: bool) -> None:
    from outrider.cli.package_hosts import learn

    learn(settings, place, found, asked, sure=sure)


def _asked(managers: Sequence[str], examples: Sequence[str], variables: Sequence[str]) -> Asked:
    packages = dict(_pairs("--example", examples))
    unknown = sorted({*managers, *packages} - set(CLIENTS))
    if unknown:
        raise click.UsageError(f"{unknown[0]} is none of {', '.join(CLIENTS)}")
    return Asked(managers or tuple(CLIENTS), packages, _pairs("--set", variables))


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    parts = [one.partition("=") for one in given]
    if any(not name.isidentifier() or not sign for name, sign, _ in parts):
        raise click.UsageError(f"{option} takes NAME=VALUE")
    return [(name, text) for name, _, text in parts]


# -- database and disk


def _database(settings: Settings, found: Findings) -> None:
    if not settings.database.exists():
        found.good(f"database: none yet in {settings.data}; the first start makes it")
        return
    try:
        with closing(sqlite3.connect(f"file:{settings.database}?mode=ro", uri=True)) as db:
            (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        found.bad(f"database: {settings.database}: {error}", "is this the user that the server runs as?")
        return
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said == "ok":
        found.good(f"database: {settings.database} is sound ({settings.database.stat().st_size // 1024} kB)")
    else:
        found.bad(f"database: {settings.database} is damaged: {said}", "stop the server and restore a backup")


def _disk(settings: Settings, found: Findings) -> None:
    place = next(path for path in (settings.data, *settings.data.parents) if path.exists())
    usage = shutil.disk_usage(place)
    share = usage.free / usage.total
    text = f"disk: {usage.free / 1024**3:.1f} GB free ({share:.0%}) for {settings.data}"
    limits = settings.limits
    if usage.free < limits.reserve_bytes or share < limits.reserve_share:
        found.bad(text, "sandboxes do not run below 5 % or 1 GB; make room, or move the data")
    else:
        found.good(text)
    if os.access(place, os.W_OK):
        found.note(f"a durable write takes {_sync_time(place) * 1000:.2f} ms here")
    else:
        found.bad(
            f"disk: {place} can't be written by this user", "run this as the server's user, or name another --data"
        )


def _sync_time(place: Path) -> float:
    """Seconds that the file system takes to make 4 kB durable (median)."""
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(SYNC_ROUNDS):
            start = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return sorted(taken)[SYNC_ROUNDS // 2]


# -- models


async def _models(settings: Settings, environment: dict[str, str], asked: tuple[str, ...], found: Findings) -> None:
    from outrider.endpoints import load_endpoints, usable_secrets

    endpoints = load_endpoints(settings.endpoints, environment, usable_secrets(environment, settings.endpoints))
    async with _scripted(endpoints) as reachable:
        names = asked or _one_each(reachable, found)
        for name in names:
            await _probe(reachable, name, environment, found)


@asynccontextmanager
async def _scripted(endpoints: Endpoints) -> AsyncGenerator[Endpoints]:
    """The scripted model runs inside the server, so it is started here when it is configured."""
    if not endpoints.needs_scripted_server():
        yield endpoints
        return
    from outrider.models.scripted import running

    async with running() as server:
        yield endpoints.with_scripted_at(server.url)


def _one_each(endpoints: Endpoints, found: Findings) -> list[str]:
    names: dict[str, str] = {}
    for name in endpoints.names():
        names.setdefault(endpoints.resolve(name)[0].name, name)
    for endpoint in endpoints.all:
        if endpoint.name not in names:
            found.note(
                f"model endpoint {endpoint.name} at {endpoint.base_url}: name a model of it with --model to try it"
            )
    if "scripted" in names:
        names["scripted"] = "scripted/tools"
    return list(names.values())


async def _probe(endpoints: Endpoints, name: str, environment: dict[str, str], found: Findings) -> None:
    from outrider.clock import SystemClock
    from outrider.models.client import AnthropicModel, http_client
    from outrider.models.probe import probe

    try:
        endpoint, _, profile = endpoints.resolve(name)
        key = _key(endpoint, environment)
    except OutriderError as error:
        found.bad(f"model {name}: {error.message}")
        return
    model = AnthropicModel(endpoint.base_url, http_client(CALL_SECONDS), key=key)
    try:
        _say(name, await probe(model, endpoint.name, profile, SystemClock()), found)
    finally:
        await model.close()


def _key(endpoint: Endpoint, environment: dict[str, str]) -> tuple[str, str] | None:
    """The header that carries the endpoint's key. Only this command reads a key outside of the vault."""
    if endpoint.secret is None or endpoint.auth == "none":
        return None
    kind, _, where = endpoint.secret.partition(":")
    value = environment[where] if kind == "env" else Path(where).read_text().strip()
    return ("authorization", f"Bearer {value}") if endpoint.auth == "bearer" else ("x-api-key", value)


def _say(name: str, report: ProbeReport, found: Findings) -> None:
    if not report.works:
        reason = report.problem or report.tool_problem or "it did not call the tool"
        found.bad(f"model {name} on {report.endpoint}: {reason}")
        return
    first = f"{report.first_block * 1000:.0f} ms" if report.first_block is not None else "unknown"
    found.good(f"model {name} on {report.endpoint}: streams and calls tools (first block after {first})")
    found.note(f"usage: {'yes' if report.usage else 'no'}; cache fields: {'yes' if report.cache_fields else 'no'}")
