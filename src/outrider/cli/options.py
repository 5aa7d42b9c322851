"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything durable lives.  [default: $OUTRIDER_DATA, else ~/.outrider, as root /var/lib/outrider]",
)
