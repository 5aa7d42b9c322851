"""`outrider serve`: the server, all roles in one process tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from outrider import config
from outrider.cli.options import data_option


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 picks a free one.  [default: 8400]")
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its key (PEM).")
@click.option("--behind-proxy", is_flag=True, help="Something in front of this server terminates TLS.")
@data_option
def serve(
    host: str | None,
    port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    data: Path | None,
) -> None:
    """Run the server until it is told to stop (SIGTERM drains; SIGKILL is safe)."""
    from outrider import supervisor

    environment = dict(os.environ)
    settings = config.load(
        environment,
        data=data,
        host=host,
        port=port,
        behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    sys.exit(supervisor.run(settings, environment))
