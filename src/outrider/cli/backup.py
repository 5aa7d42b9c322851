"""`outrider backup` and `outrider restore`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider import config
from outrider.cli.options import data_option
from outrider.clock import SystemClock
from outrider.errors import InvalidRequest

if TYPE_CHECKING:
    from outrider.supervisor.backup import Part

NOT_IN_IT = "Not in it: the vault's key, keys of models, the file api-key (its key goes on working). Keep them apart."


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check an existing backup instead of making one.")
@click.option(
    "--only",
    type=click.Choice(["log", "vault", "sandboxes"]),
    help="Back up one part: the log with its blobs, the vault's secrets, or the files of this machine's sandboxes.",
)
@data_option
def backup(directory: Path, verify: bool, only: Part | None, data: Path | None) -> None:
    """Back up a server's data into a new directory, while it runs or not.

    A log in PostgreSQL is copied from the database that OUTRIDER_DATABASE_URL or the config file names.
    """
    from outrider.supervisor import backup as backups

    if verify:
        if only is not None:
            raise InvalidRequest("--verify checks all of a backup: leave --only out.")
        manifest = backups.verify(directory)
        click.echo(f"{directory}: whole; made {manifest['at']} by outrider {manifest['outrider']}.")
        return
    settings = config.load(os.environ, data=data)
    made = backups.make(settings, os.environ, directory.absolute(), SystemClock(), [only] if only else backups.PARTS)
    click.echo(f"{directory}: {len(made['files'])} files.\n{NOT_IN_IT}")
    if (left := made.get("left_out")) is not None:
        named = "".join(f"\n  {place!a}" for place in left["first"])
        click.echo(
            f"Not in it either, of the sandboxes' files: {left['count']} that can't be read or named:{named}", err=True
        )


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--as-original",
    is_flag=True,
    help="Take the name of the server that was backed up, which must never run again on the same database.",
)
@data_option
def restore(directory: Path, as_original: bool, data: Path | None) -> None:
    """Put a backup into a new or empty data directory.

    A log of PostgreSQL goes into the empty database that OUTRIDER_DATABASE_URL or the backup's config file names.
    Secrets are restored as ciphertext: put the vault's key back before the server starts.
    """
    from outrider.supervisor import backup as backups

    where = (data or config.default_data(os.environ)).absolute()
    settings = backups.restore(directory, where, os.environ, as_original=as_original)
    if settings.vault_secrets.exists():
        click.echo(
            f"{where}: if the vault stored secrets, put the vault's key back before the start"
            f" ({settings.vault_key_file})."
        )
    click.echo(f"{where}: restored; start it with `outrider serve --data {where}`.")
