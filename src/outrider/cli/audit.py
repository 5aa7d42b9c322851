"""`outrider audit`: plants canary credentials in a running deployment, lets an agent in a real sandbox look for them,
then looks for them everywhere itself.

Prints where a canary was seen, and what could not be looked at. Removes what it planted.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider import config
from outrider.cli.findings import Findings
from outrider.cli.options import data_option
from outrider.cli.running import Address, address, reason
from outrider.config import DATABASE_URL, Settings
from outrider.errors import OutriderError

if TYPE_CHECKING:
    from outrider.testing.leaks.places import Sight
    from outrider.testing.leaks.planted import Planted

SEEN, NO_VERDICT = 1, 3  # exit codes
SCRIPTED = "scripted/tools"
MOST_SHOWN = 20
SHARED_MEMORY = "memory of server "


@click.command(short_help="Look for leaked credentials: plants canaries, attacks from a sandbox, searches.")
@click.option("--model", help=f"Model that runs the attack.  [default: {SCRIPTED}, where the server offers it]")
@click.option(
    "--also", "also", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A log file or a directory (logs, traces, backups) to search as well; may be repeated.",
)  # fmt: skip
@data_option
def audit(model: str | None, also: tuple[Path, ...], data: Path | None) -> None:
    """Find out where agent-executed code, or anybody but the vault, could see a credential.

    Plants canary credentials through the API of the server that runs on this data directory, lets an agent search its
    own sandbox as an attacker would, then searches the database, the data directory, all processes and what --also
    names, for the canaries and their usual encodings. Removes the canaries at the end. What this user may not look at
    is said: as root nothing of this machine is hidden.

    Exit code 0: no canary was seen; 1: one was; 3: there is no verdict, because the attack could not be run.
    """
    from anthropic import Anthropic, APIError

    from outrider.testing.leaks.planted import Planted

    environment = dict(os.environ)
    settings = config.load(environment, data=data)
    found, at = Findings(), address(environment, data)
    with Anthropic(base_url=at.url, api_key=at.key, max_retries=4) as client:
        planted = Planted(client)
        try:
            attacked = _attack(planted, _model(planted, model), settings, found)
            _search(planted, settings, environment, also, found)
        except APIError as error:
            raise click.ClickException(reason(error, at)) from None
        finally:
            for left in planted.remove():
                found.note(f"left behind: {left}")
    sys.exit(_verdict(found, at, attacked))


def _model(planted: Planted, asked: str | None) -> str:
    if asked is not None:
        return asked
    offered = json.loads(planted.client.get("/outrider/v1/host", cast_to=str))["models"]
    if SCRIPTED not in offered:
        raise click.UsageError(
            f"this server does not offer {SCRIPTED}, which would do what it is told: name a model with --model"
            " to be asked to run the search, or add an endpoint for the scripted model to the config file"
        )
    return SCRIPTED


def _attack(planted: Planted, model: str, settings: Settings, found: Findings) -> bool:
    """From the sandbox of a session that may use the canaries, and of one that may not. Whether it could be run."""
    from outrider.testing.leaks import inside
    from outrider.testing.leaks.disguises import disguises
    from outrider.testing.leaks.planted import VARIABLE

    since = (datetime.now(UTC) - timedelta(seconds=5)).strftime("%Y-%m-%d %H:%M:%S UTC")
    outside = (settings.vault_data, settings.vault_socket, settings.database, settings.data / "api-key")
    wanted = disguises(planted.word.encode())
    planted.plant(model)
    attack = inside.script(wanted, since=since, outside=outside, variable=VARIABLE)
    whole = True
    for which, with_vault in (("that may use the canaries", True), ("that may not", False)):
        try:
            said = inside.read(planted.run(attack, scripted=model == SCRIPTED, with_vault=with_vault))
        except OutriderError as error:
            found.bad(f"sandbox of a session {which}: {error.message}")
            return False
        whole &= _say_inside(said, which, with_vault=with_vault, found=found)
    return whole


def _say_inside(said: object, which: str, *, with_vault: bool, found: Findings) -> bool:
    from outrider.testing.leaks.inside import Inside

    assert isinstance(said, Inside)
    place = f"sandbox of a session {which}"
    if not (said.control and said.whole):
        found.bad(f"{place}: the search did not work there", "see the session's events with `outrider session tail`")
        return False
    for hit in said.hits[:MOST_SHOWN]:
        found.bad(f"{place}: a canary in {hit}")
    for path in said.sees:
        found.bad(f"{place}: {path} of this machine is there")
    if not with_vault and said.variable != "(not set)":
        found.bad(f"{place}: it has another session's variable")
    if not (said.hits or said.sees):
        counts = said.counts
        found.good(
            f"{place}: no canary in {counts.get('files', 0)} files, {counts.get('procs', 0)} processes and"
            f" {counts.get('regions', 0)} regions of their memory"
        )
        found.note(f"its variable holds: {said.variable[:40]}" if with_vault else "it has no such variable")
    return True


def _search(
    planted: Planted, settings: Settings, environment: Mapping[str, str], also: tuple[Path, ...], found: Findings
) -> None:
    """Everything outside of the sandboxes that this user may look at."""
    from outrider.testing.leaks import places
    from outrider.testing.leaks.disguises import disguises, holds

    wanted = disguises(planted.word.encode())
    planted.history()
    said = places.Sight(len(planted.said), [one[:60] for one in planted.said if holds(one.encode(), wanted)])
    _say("what the API said (answers, events, errors)", "texts", said, found)
    if settings.database_url is not None:
        _database(environment.get(DATABASE_URL) or settings.database_url, wanted, found)
    _say(f"files in {settings.data}", "files", places.files([settings.data], wanted), found)
    if also:
        _say("files that --also names", "files", places.files(also, wanted), found)
    pids = {**_processes(settings), **places.sandbox_processes(settings.data)}
    _say_processes(places.processes(pids, wanted), found)


def _database(url: str, wanted: set[bytes], found: Findings) -> None:
    from outrider.testing.leaks.places import Sight

    if find_spec("asyncpg") is None:
        return found.note("not looked at: the database (the driver of PostgreSQL is missing)")
    from outrider.store.postgres.searched import tables_holding

    try:
        read, holding, left = asyncio.run(tables_holding(url, wanted))
    except (OutriderError, OSError) as error:
        return found.note(f"not looked at: the database ({error})")
    return _say("the database", "tables", Sight(read, holding, left), found)


def _processes(settings: Settings) -> dict[str, int]:
    """All but the vault, where the canaries belong."""
    try:
        facts = json.loads((settings.data / "server.json").read_text())
    except OSError:
        return {}
    children: dict[str, int] = facts["children"]
    return {"supervisor": facts["supervisor"], **{name: pid for name, pid in children.items() if name != "vault"}}


def _say_processes(sight: Sight, found: Findings) -> None:
    """The process with the API took the canaries in: what is left of that in its memory is known, and told apart."""
    transit = [hit for hit in sight.hits if hit.startswith(SHARED_MEMORY)]
    sight.hits = [hit for hit in sight.hits if hit not in transit]
    _say("processes but the vault", "places", sight, found)
    for hit in transit:
        found.note(f"{hit}: copies from taking the canaries in; they go when the process ends (docs/security.md)")


def _say(place: str, unit: str, sight: Sight, found: Findings) -> None:
    for hit in sight.hits[:MOST_SHOWN]:
        found.bad(f"{place}: a canary in {hit}")
    if not sight.hits and sight.looked:
        found.good(f"{place}: no canary in {sight.looked} {unit}")
    for blind in sight.blind[:MOST_SHOWN]:
        found.note(f"not looked at: {blind}")
    if len(sight.blind) > MOST_SHOWN:
        found.note(f"not looked at: {len(sight.blind) - MOST_SHOWN} more")


def _verdict(found: Findings, at: Address, attacked: bool) -> int:
    if not attacked:
        click.echo(f"\nNo verdict: the attack on {at.url} could not be run.")
        return NO_VERDICT
    if found.failed:
        click.echo(f"\nA credential could be seen outside of the vault of {at.url}.")
        return SEEN
    click.echo(f"\nNo canary was seen outside of the vault of {at.url}.")
    return 0
