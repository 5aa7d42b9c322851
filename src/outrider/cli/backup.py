"""`outrider backup` and `outrider restore`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from outrider import config
from outrider.cli.options import data_option
from outrider.clock import SystemClock

NOT_IN_IT = "Not in it: the vault's key, keys of models, the file api-key (its key goes on working). Keep them apart."


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check an existing backup instead of making one.")
@data_option
def backup(directory: Path, verify: bool, data: Path | None) -> None:
    """Back up a server's data into a new directory, while it runs or not."""
    from outrider.supervisor import backup as backups

    if verify:
        manifest = backups.verify(directory)
        click.echo(f"{directory}: whole; made {manifest['at']} by outrider {manifest['outrider']}.")
        return
    settings = config.load(os.environ, data=data)
    made = backups.make(settings, os.environ, directory.absolute(), SystemClock())
    click.echo(f"{directory}: {len(made['files'])} files, schema version {made['schema']}.\n{NOT_IN_IT}")


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@data_option
def restore(directory: Path, data: Path | None) -> None:
    """Put a backup into a new or empty data directory."""
    from outrider.supervisor import backup as backups

    where = (data or config.default_data(os.environ)).absolute()
    backups.restore(directory, where, os.environ)
    click.echo(f"{where}: restored; start it with `outrider serve --data {where}`.")
