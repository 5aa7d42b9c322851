"""`outrider vault`: the stored secrets' keys, for operators. Works beside a running server and without one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from outrider import config
from outrider.cli.options import data_option
from outrider.errors import InvalidRequest


@click.group()
def vault() -> None:
    """Keys of the secrets that the vault stores."""


@vault.command()
@data_option
def rekey(data: Path | None) -> None:
    """Encrypt the keys of all stored secrets anew.

    With the vault's key in its file: under a new key, which takes the old one's place there. With a key in
    OUTRIDER_VAULT_KEY: under the first one named there (`new,old`). With an outside key service: under its newest
    version. Killed at any point, it leaves every secret readable; run it again, or start the server, to finish.
    """
    from outrider import vaultd
    from outrider.supervisor.prelude import vault_keys

    environment = dict(os.environ)
    settings = config.load(environment, data=data)
    if not settings.vault_data.is_dir():
        raise InvalidRequest(f"There is no vault in {settings.data} yet: `outrider serve` makes one.")
    keys = vault_keys(settings, environment)
    _become_owner(settings.vault_data)
    done = asyncio.run(vaultd.rekey(settings, keys))
    click.echo(f"{done} secrets are under the new key.")


def _become_owner(directory: Path) -> None:
    """As root: the vault's user, so that no file in its directory becomes somebody else's."""
    from outrider.supervisor import linux, reach

    owner = directory.stat().st_uid
    if os.geteuid() == 0 and owner != 0:
        reach.open_code_to(owner)
        linux.become(owner)
