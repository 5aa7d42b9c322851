"""`outrider serve`: the server, all roles in one process tree or some of them."""

from __future__ import annotations

import importlib.util
import os
import ssl
import sys
from pathlib import Path

import click

from outrider import config
from outrider.cli.options import data_option
from outrider.errors import InvalidRequest


@click.command(short_help="Run the server until it is told to stop.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 picks a free one.  [default: 8400]")
@click.option("--tls-cert", type=click.Path(dir_okay=False, path_type=Path), help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(dir_okay=False, path_type=Path), help="Its key (PEM).")
@click.option("--behind-proxy", is_flag=True, help="Something in front of this server terminates TLS.")
@click.option("--role", "roles", help="Only these of api, harness, sandbox, vault, by commas.  [default: all]")
@data_option
def serve(
    host: str | None,
    port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    roles: str | None,
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
        roles=roles,
    )
    if settings.tls_cert and settings.tls_key:
        _check_tls(settings.tls_cert, settings.tls_key)
    if settings.otlp_endpoint:
        _check_tracing()
    sys.exit(supervisor.run(settings, environment))


def _check_tracing() -> None:
    """Raises InvalidRequest: traces were asked for, and what sends them is not installed."""
    for module in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise InvalidRequest(
                "Traces are asked for (telemetry.otlp_endpoint or OTEL_EXPORTER_OTLP_ENDPOINT), but OpenTelemetry"
                " is not installed: install outrider with its extra `otel`."
            )


def _check_tls(cert: Path, key: Path) -> None:
    """Raises InvalidRequest: a server process that can't load its certificate would only die again and again."""
    for file in (cert, key):
        try:
            file.read_bytes()
        except OSError as error:
            raise InvalidRequest(f"TLS: {file}: {error.strerror}.") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequest(
            f"TLS: {cert} and {key} aren't a PEM certificate and its key without a password: {error}"
        ) from None
