"""`outrider webhooks`: whom a running server tells what happens, and what became of it.

Asks the server's own API: only its vault may know an endpoint's secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from outrider.cli.options import data_option
from outrider.cli.running import address, reason

API = "/outrider/v1/webhooks"
SECONDS = 60.0
event_option = click.option(
    "--event", "events", multiple=True, metavar="TYPE", help="What is to be told; may be repeated."
)


@click.group()
def webhooks() -> None:
    """Webhooks: whom the running server tells what happens in a workspace.

    They are those of the key's workspace: the first key's, or that of an admin's key in OUTRIDER_API_KEY.
    """


@webhooks.command()
@click.argument("url")
@event_option
@click.option("--all", "everything", is_flag=True, help="Every event type instead: `outrider webhooks events`.")
@click.option("--name", default="", help="To tell endpoints apart in lists.")
@click.option("--description", default="")
@data_option
def create(
    url: str, events: tuple[str, ...], name: str, description: str, data: Path | None, *, everything: bool
) -> None:
    """Tell URL what happens from now on, and print the signing secret: this once.

    The secret alone goes to standard output, the endpoint's id to standard error.
    """
    if bool(events) == everything:
        raise click.UsageError("say with --event what is to be told, or --all")
    wanted = sorted(_events()) if everything else list(events)
    made = _ask(data, "POST", body={"url": url, "enabled_events": wanted, "name": name, "description": description})
    click.echo(
        f"{made['id']}: told {len(made['enabled_events'])} event types. The secret is shown this once:", err=True
    )
    click.echo(made["signing_secret"])


@webhooks.command("list")
@data_option
def list_webhooks(data: Path | None) -> None:
    """List the endpoints: id, state, how many event types, URL, name."""
    for one in _ask(data, "GET", query={"limit": 100})["data"]:
        events = f"{len(one['enabled_events'])} event types"
        click.echo(f"{one['id']}  {_state(one)}  {events}  {one['url']}  {one['name']}".rstrip())


@webhooks.command()
@click.argument("webhook_id")
@data_option
def show(webhook_id: str, data: Path | None) -> None:
    """Print all that is known of an endpoint, its signing secret excepted."""
    one = _ask(data, "GET", webhook_id)
    for name in ("id", "url", "name", "description"):
        click.echo(f"{name:<12} {one[name]}".rstrip())
    click.echo(f"{'state':<12} {_state(one)}")
    click.echo(f"{'made':<12} {one['created_at']}")
    click.echo(f"{'changed':<12} {one['updated_at']}")
    for number, event in enumerate(one["enabled_events"]):
        click.echo(f"{'' if number else 'events':<12} {event}")


@webhooks.command()
@click.argument("webhook_id")
@click.option("--url")
@event_option
@click.option("--name")
@click.option("--description")
@data_option
def update(
    webhook_id: str,
    url: str | None,
    events: tuple[str, ...],
    name: str | None,
    description: str | None,
    data: Path | None,
) -> None:
    """Change what is given. The events that are named take the place of those so far."""
    named = {"url": url, "name": name, "description": description, "enabled_events": list(events) or None}
    changed = {field: value for field, value in named.items() if value is not None}
    if not changed:
        raise click.UsageError("name what is to be changed")
    _ask(data, "POST", webhook_id, body=changed)
    click.echo(f"{webhook_id}: {', '.join(sorted(changed))} changed.")


@webhooks.command()
@click.argument("webhook_id")
@data_option
def enable(webhook_id: str, data: Path | None) -> None:
    """Tell an endpoint again what happens, from now on: what it missed is not sent later."""
    _ask(data, "POST", webhook_id, body={"state": "enabled"})
    click.echo(f"{webhook_id}: enabled.")


@webhooks.command()
@click.argument("webhook_id")
@data_option
def disable(webhook_id: str, data: Path | None) -> None:
    """Tell an endpoint nothing until it is enabled again."""
    _ask(data, "POST", webhook_id, body={"state": "disabled"})
    click.echo(f"{webhook_id}: disabled.")


@webhooks.command()
@click.argument("webhook_id")
@data_option
def secret(webhook_id: str, data: Path | None) -> None:
    """Give an endpoint another signing secret and print it: this once. The one before signs nothing any more."""
    made = _ask(data, "POST", webhook_id, "regenerate_signing_secret")
    click.echo(f"{webhook_id}: signed with this from now on. It is shown this once:", err=True)
    click.echo(made["signing_secret"])


@webhooks.command()
@click.argument("webhook_id")
@data_option
def delete(webhook_id: str, data: Path | None) -> None:
    """Delete an endpoint, its secret and the record of its deliveries."""
    _ask(data, "DELETE", webhook_id)
    click.echo(f"{webhook_id}: deleted.")


@webhooks.command()
@click.argument("webhook_id")
@click.option("--state", type=click.Choice(["pending", "delivered", "failed"]), help="Only those.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="At most so many.")
@data_option
def deliveries(webhook_id: str, state: str | None, limit: int, data: Path | None) -> None:
    """List what an endpoint was told, the newest first: id, time, event, what became of it."""
    asked = {"limit": limit} | ({"state": state} if state else {})
    for one in _ask(data, "GET", webhook_id, "deliveries", query=asked)["data"]:
        click.echo(f"{one['id']}  {one['created_at']}  {one['event_type']}  {_outcome(one)}")


@webhooks.command()
@click.argument("webhook_id")
@click.argument("delivery_id")
@data_option
def resend(webhook_id: str, delivery_id: str, data: Path | None) -> None:
    """Send an event once more, under the same id."""
    _ask(data, "POST", webhook_id, "deliveries", delivery_id, "resend")
    click.echo(f"{delivery_id}: to be sent again.")


@webhooks.command("events")
def list_events() -> None:
    """List the event types that an endpoint may be told."""
    for name in sorted(_events()):
        click.echo(name)


def _events() -> frozenset[str]:
    from outrider.resources.webhooks import EVENTS

    return EVENTS


def _state(webhook: Any) -> str:
    return f"{webhook['state']} ({webhook['disabled_reason']})" if webhook["disabled_reason"] else webhook["state"]


def _outcome(delivery: Any) -> str:
    """What became of it, and after how many attempts."""
    tried = f"{delivery['state']} after {delivery['attempts']}"
    said = [str(one) for one in (delivery["response_status"], delivery["problem"]) if one]
    return f"{tried}: {', '.join(said)}" if said else tried


def _ask(data: Path | None, method: str, *path: str, query: Mapping[str, Any] | None = None, body: Any = None) -> Any:
    """The server's answer; what it refuses ends the command with its reason."""
    import anthropic

    found = address(dict(os.environ), data)
    to = "/".join([API, *(quote(part, safe="") for part in path)]) + (f"?{urlencode(query)}" if query else "")
    with anthropic.Anthropic(base_url=found.url, api_key=found.key, max_retries=0, timeout=SECONDS) as client:
        try:
            if method == "GET":
                return json.loads(client.get(to, cast_to=str))
            send = client.delete if method == "DELETE" else client.post
            return json.loads(send(to, cast_to=str, body=body))
        except anthropic.APIError as error:
            raise click.ClickException(reason(error, found)) from None
