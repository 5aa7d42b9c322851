"""`outrider env`: what an SDK needs to find this server."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from outrider.cli.options import data_option
from outrider.cli.running import address


@click.command(short_help="Print the SDKs' variables for the server.")
@data_option
def env(data: Path | None) -> None:
    """Print the SDKs' variables for the server that runs on this data.

    Use it as:  eval "$(outrider env)"
    """
    found = address(dict(os.environ), data)
    click.echo(f"export ANTHROPIC_BASE_URL={shlex.quote(found.url)}")
    click.echo(f"export ANTHROPIC_API_KEY={shlex.quote(found.key)}")
