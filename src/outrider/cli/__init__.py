"""The `outrider` command. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import importlib
import sys

import click

from outrider import __version__
from outrider.errors import OutriderError

COMMANDS = {
    "serve": "outrider.cli.serve:serve",
    "demo": "outrider.cli.demo:demo",
    "doctor": "outrider.cli.doctor:doctor",
    "env": "outrider.cli.env:env",
    "keys": "outrider.cli.keys:keys",
    "workspaces": "outrider.cli.workspaces:workspaces",
    "webhooks": "outrider.cli.webhooks:webhooks",
    "drill": "outrider.cli.drill:drill",
    "session": "outrider.cli.session:session",
    "backup": "outrider.cli.backup:backup",
    "restore": "outrider.cli.backup:restore",
    "tls": "outrider.cli.tls:tls",
    "vault": "outrider.cli.vault:vault",
    "audit": "outrider.cli.audit:audit",
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(module), attribute)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="outrider")
def cli() -> None:
    """Outrider: an open, self-hosted managed-agents platform."""


def main() -> None:
    """Run a command; an error that we raised ourselves is one line on stderr, and exit code 2."""
    try:
        cli(prog_name="outrider")
    except OutriderError as error:
        click.echo(f"outrider: {error.message}", err=True)
        sys.exit(2)
