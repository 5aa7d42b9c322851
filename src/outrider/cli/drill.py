"""`outrider drill`: prove on this machine that a deployment of a given shape loses nothing when its parts fail."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click

from outrider.errors import InvalidRequest

VIOLATED = 1


def _apart(text: str) -> dict[str, int]:
    """`api=2,harness=4,sandbox=2,vault=1` as a dict."""
    found: dict[str, int] = {}
    for item in filter(None, text.split(",")):
        role, _, count = item.partition("=")
        if not count.isdigit() or not int(count):
            raise InvalidRequest(f"--apart: {item!r} is not ROLE=NUMBER")
        found[role.strip()] = int(count)
    return found


@click.command(short_help="Kill, freeze and cut off parts of a deployment, then check that nothing was lost.")
@click.option("--store", type=click.Choice(["sqlite", "postgres"]), default="sqlite", show_default=True)
@click.option("--database-url", help="A scratch PostgreSQL database.  [default: one that the drill starts]")
@click.option("--nats", is_flag=True, help="Wakes and live tails by NATS.")
@click.option("--nats-url", help="A scratch NATS server.  [default: one that the drill starts]")
@click.option("--apart", default="", help="Roles on servers of their own: api=2,harness=4,sandbox=2,vault=1.")
@click.option("--hosts", is_flag=True, help="Each harness on a host of its own: a network namespace.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Config file to use.")
@click.option("--sessions", type=click.IntRange(1), default=10, show_default=True, help="Sessions at once.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=0.5, show_default=True)
@click.option(
    "--every", type=click.FloatRange(0), default=1.0, show_default=True, help="Seconds between faults; 0: none."
)
@click.option("--faults", default="kill,freeze,cut", show_default=True, help="Which kinds of faults.")
@click.option("--readers", type=click.IntRange(0), default=10, show_default=True, help="Sessions that are streamed.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the choice of faults.")
@click.option("--json", "result", type=click.Path(dir_okay=False, path_type=Path), help="Write the report there, too.")
def drill(
    store: str,
    database_url: str | None,
    nats: bool,
    nats_url: str | None,
    apart: str,
    hosts: bool,
    config: Path | None,
    sessions: int,
    minutes: float,
    every: float,
    faults: str,
    readers: int,
    seed: int,
    result: Path | None,
) -> None:
    """Start servers of the given shape with scratch data, run scripted sessions on them while parts are killed, frozen
    and cut off, then check the logs: gapless, nothing acknowledged lost, no tool call run twice, no session stuck.

    Exits with 1 when a check fails. Your own deployment is not touched.
    """
    import asyncio

    from outrider.testing.drill.run import drill as run
    from outrider.testing.drill.shape import Load, Shape

    shape = Shape(
        store=store,
        apart=_apart(apart),
        with_nats=nats or nats_url is not None,
        database=database_url,
        nats=nats_url,
        config=config.read_text() if config else "",
        hosts=hosts,
    )
    kinds = tuple(filter(None, faults.split(",")))
    load = Load(sessions, minutes * 60, every, kinds, seed, min(readers, sessions))
    with tempfile.TemporaryDirectory(prefix="outr-") as folder:
        Path(folder).chmod(0o711)
        report = asyncio.run(run(shape, load, Path(folder), click.echo))
    for line in report.lines():
        click.echo(line)
    if result:
        result.write_text(json.dumps(report.as_data(), indent=1) + "\n")
    sys.exit(0 if report.sound else VIOLATED)
