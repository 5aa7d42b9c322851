"""`outrider session ...`: look at sessions and move them, from the terminal."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from outrider.cli.options import data_option
from outrider.cli.running import address, reason


@click.group()
def session() -> None:
    """Look at sessions, and move them."""


@session.command()
@click.argument("session_id")
@click.option("--once", is_flag=True, help="Print what is there and stop, instead of following.")
@data_option
def tail(session_id: str, once: bool, data: Path | None) -> None:
    """Print a session's events, then follow it live (Ctrl-C ends only the tail)."""
    import anthropic
    from rich.console import Console

    from outrider.cli.show import Show

    found = address(dict(os.environ), data)
    signal.signal(signal.SIGINT, _end)
    client = anthropic.Anthropic(base_url=found.url, api_key=found.key)
    events = client.beta.sessions.events
    show = Show(Console(highlight=False))
    try:
        stream = None if once else events.stream(session_id, event_deltas=["agent.message", "agent.thinking"])
        seen: set[str] = set()
        for event in events.list(session_id, limit=1000):
            if event.processed_at is not None:  # one that waits comes once more on the stream
                seen.add(event.id)
            show.event(event)
        for event in stream or ():
            if _about(event) not in seen:
                show.event(event)
    except anthropic.APIError as error:
        raise click.ClickException(reason(error, found)) from None


def _end(*_: object) -> None:
    """At once: a KeyboardInterrupt is lost where Python ignores exceptions, as in finalizers."""
    with suppress(RuntimeError):  # it came in the middle of a write
        sys.stdout.flush()
    os._exit(0)


def _about(event: Any) -> str | None:
    """The id of the event that this is, or that it shows a part of."""
    if event.type == "event_start":
        return event.event.id
    return event.event_id if event.type == "event_delta" else getattr(event, "id", None)


@session.command()
@click.argument("session_id")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="At most so many.")
@data_option
def requests(session_id: str, limit: int, data: Path | None) -> None:
    """Print what a session's commands asked of the network: when, where, whether it was let out, and bytes."""
    import anthropic

    from outrider.cli.show import plain

    found = address(dict(os.environ), data)
    client = anthropic.Anthropic(base_url=found.url, api_key=found.key, timeout=60.0)
    try:
        said = client.get(f"/outrider/v1/sessions/{session_id}/requests?limit={limit}", cast_to=str)
    except anthropic.APIError as error:
        raise click.ClickException(reason(error, found)) from None
    for one in json.loads(said)["data"]:
        size = f"{one.get('sent', 0)} B out, {one.get('received', 0)} B in"
        why = f": {one['reason']}" if one.get("reason") else ""
        click.echo(plain(f"{one['at']} {one['verdict']:8} {one['how']:10} {one['host']}:{one['port']} ({size}){why}"))


@session.command()
@click.argument("session_id")
@click.option("--apply", is_flag=True, help="Mend what is found, instead of only saying it.")
@data_option
def repair(session_id: str, apply: bool, data: Path | None) -> None:
    """Look for what is wrong with one session of a running server: who attends to it, what was left open, whether its
    snapshot and record are what its log says. Exit status 1 if something is (still) wrong."""
    import json

    import anthropic

    found = address(dict(os.environ), data)
    client = anthropic.Anthropic(base_url=found.url, api_key=found.key, timeout=60.0)
    path = f"/outrider/v1/sessions/{session_id}/repair"
    try:
        report = json.loads(client.post(path, cast_to=str) if apply else client.get(path, cast_to=str))
    except anthropic.APIError as error:
        raise click.ClickException(reason(error, found)) from None
    for fault in report["found"]:
        click.echo(f"{fault['kind']}: {fault['what']} Repair: {fault['repair']}.")
    left = report["found"] if report["left"] is None else report["left"]
    if not report["found"]:
        click.echo(f"{session_id}: nothing is wrong.")
    elif apply:
        click.echo(f"{session_id}: left: " + ", ".join(fault["kind"] for fault in left) if left else "All is mended.")
    if left:
        raise SystemExit(1)


@session.command()
@click.argument("session_id")
@data_option
def cold(session_id: str, data: Path | None) -> None:
    """Move a resting session's events to the blob store; they come back when they are needed.

    It stays as it is for clients: this is not the API's archive. The server may run meanwhile.
    """
    import asyncio

    from outrider.cli.cold import move

    rows = asyncio.run(move(session_id, data))
    click.echo(f"{session_id}: {rows} rows moved to the blob store.")


@session.command()
@click.argument("session_id")
@click.option("--force", is_flag=True, help="Also if its host can be reached, or this server can't see whether it can.")
@data_option
def move(session_id: str, force: bool, data: Path | None) -> None:
    """Take a session off a sandbox host that is lost for good. Its files are given up.

    Its next tool call finds out: it is not run, and its result tells the agent that the workspace is empty now.
    """
    import anthropic

    found = address(dict(os.environ), data)
    client = anthropic.Anthropic(base_url=found.url, api_key=found.key, max_retries=0)
    try:
        moved = client.post(f"/outrider/v1/sessions/{session_id}/move", cast_to=str, body={"force": force})
    except anthropic.APIError as error:
        raise click.ClickException(reason(error, found)) from None
    click.echo(f"{session_id} has left {json.loads(moved)['from']}: it goes on elsewhere with an empty workspace.")
