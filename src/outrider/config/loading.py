"""Defaults, then the config file, then the environment, in one frozen object that holds no secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from outrider.config.access import RATE_KEYS, allowed_hosts, cors_origins, rate_limits
from outrider.config.folders import check_folders, folders
from outrider.config.packages import PACKAGES_KEYS, package_settings
from outrider.config.settings import (
    FIRST_UID,
    LOOPBACK,
    ROLES,
    BlobPlace,
    Limits,
    McpSettings,
    PeerFiles,
    Prices,
    Retention,
    Settings,
    VaultSettings,
    WebhookSettings,
)
from outrider.config.tables import check_kinds, check_known, path_of, read_document, table_of
from outrider.config.urls import DATABASE_URL, NATS_URL, database_url, nats_url, otlp_endpoint
from outrider.errors import InvalidRequest
from outrider.githosts import git_hosts
from outrider.networks import EGRESS_KEYS, Allowance, allowances, egress_settings

NATS_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
SERVER_KEYS = (
    "host",
    "port",
    "behind_proxy",
    "tls_cert",
    "tls_key",
    "require_beta_header",
    "sse_event_names",
    "downloadable_uploads",
    "first_uid",
    "database_url",
    "log_format",
    "metrics",
    "nats_url",
    "nats_prefix",
    "vault_listen",
    "vault_url",
    "allowed_hosts",
    "cors_origins",
)
TABLES = (
    "server",
    "sandbox",
    "peers",
    "telemetry",
    "limits",
    "blobs",
    "retention",
    "egress",
    "mcp",
    "endpoints",
    "vault",
    "rate_limits",
    "git",
    "prices",
    "webhooks",
    "folders",
    "packages",
)
DEAREST = 1_000  # dollars an hour
LOG_FORMATS = ("text", "json")
SANDBOX_KEYS = ("strict", "listen", "hosts", "host_patience", "shared_workspaces", "lease")
PEERS_KEYS = ("ca", "cert", "key")
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):\d{1,5}")
S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._-]+)*/?")
VAULT_KEYS = tuple(VaultSettings.__dataclass_fields__)


def default_data(environment: Mapping[str, str]) -> Path:
    """`OUTRIDER_DATA`, else `/var/lib/outrider` as root, else `~/.outrider`."""
    if environment.get("OUTRIDER_DATA"):
        return Path(environment["OUTRIDER_DATA"])
    return Path("/var/lib/outrider") if os.geteuid() == 0 else Path.home() / ".outrider"


def place_of_config(environment: Mapping[str, str], data: Path) -> Path:
    """The config file, which need not be there."""
    return Path(environment.get("OUTRIDER_CONFIG") or data / "config.toml")


def load(
    environment: Mapping[str, str],
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    behind_proxy: bool = False,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    roles: str | None = None,
) -> Settings:
    """Read `OUTRIDER_CONFIG`, else `config.toml` in the data directory, if it is there. Raises InvalidRequest."""
    where = (data or default_data(environment)).absolute()
    path = place_of_config(environment, where)
    document = read_document(path, required="OUTRIDER_CONFIG" in environment)
    check_known(document, TABLES, "", path)
    server = table_of(document, "server", SERVER_KEYS, path)
    sandbox = table_of(document, "sandbox", SANDBOX_KEYS, path)
    peers = table_of(document, "peers", PEERS_KEYS, path)
    telemetry = table_of(document, "telemetry", ("otlp_endpoint",), path)
    check_kinds(server, "server.", path)
    check_kinds(sandbox, "sandbox.", path)
    check_kinds(peers, "peers.", path)
    check_kinds(telemetry, "telemetry.", path)
    settings = Settings(
        data=where,
        host=host or server.get("host", "127.0.0.1"),
        port=int(port if port is not None else server.get("port", 8400)),
        behind_proxy=behind_proxy or bool(server.get("behind_proxy", False)),
        tls_cert=tls_cert or path_of(server.get("tls_cert")),
        tls_key=tls_key or path_of(server.get("tls_key")),
        require_beta_header=bool(server.get("require_beta_header", True)),
        sse_event_names=server.get("sse_event_names", "type"),
        downloadable_uploads=bool(server.get("downloadable_uploads", False)),
        strict_sandbox=bool(sandbox.get("strict", False)),
        first_uid=int(server.get("first_uid", FIRST_UID)),
        database_url=database_url(environment.get(DATABASE_URL), server.get("database_url"), path),
        log_format=server.get("log_format", "text"),
        metrics=server.get("metrics"),
        otlp_endpoint=telemetry.get("otlp_endpoint") or otlp_endpoint(environment),
        nats_url=nats_url(environment.get(NATS_URL), server.get("nats_url"), path),
        nats_prefix=server.get("nats_prefix", "outrider"),
        roles=_roles(roles),
        peers=_peers(peers, path),
        vault_listen=server.get("vault_listen"),
        vault_url=environment.get("OUTRIDER_VAULT_URL") or server.get("vault_url"),
        sandbox_listen=sandbox.get("listen"),
        sandbox_hosts=_hosts(environment.get("OUTRIDER_SANDBOX_HOSTS"), sandbox.get("hosts", {}), path),
        sandbox_host_patience=float(sandbox.get("host_patience", 15.0)),
        sandbox_lease=float(sandbox.get("lease", 8.0)),
        shared_workspaces=bool(sandbox.get("shared_workspaces", False)),
        limits=_limits(table_of(document, "limits", tuple(Limits.__dataclass_fields__), path), path),
        blobs=_blobs(table_of(document, "blobs", tuple(BlobPlace.__dataclass_fields__), path), path),
        retention=_retention(table_of(document, "retention", tuple(Retention.__dataclass_fields__), path), path),
        allowed_hosts=allowed_hosts(server.get("allowed_hosts", []), path),
        cors_origins=cors_origins(server.get("cors_origins", []), path),
        rate_limits=rate_limits(table_of(document, "rate_limits", RATE_KEYS, path), path),
        vault=_vault(table_of(document, "vault", VAULT_KEYS, path), path),
        egress=egress_settings(table_of(document, "egress", EGRESS_KEYS, path), f"Config file {path}: egress"),
        git_hosts=git_hosts(_git(document, path).get("hosts", {}), f"Config file {path}: git.hosts"),
        folders=folders(document.get("folders", {}), f"Config file {path}: folders"),
        packages=package_settings(table_of(document, "packages", PACKAGES_KEYS, path), f"Config file {path}: packages"),
        mcp=_mcp(table_of(document, "mcp", tuple(McpSettings.__dataclass_fields__), path), path),
        prices=_prices(table_of(document, "prices", tuple(Prices.__dataclass_fields__), path), path),
        webhooks=_webhooks(table_of(document, "webhooks", tuple(WebhookSettings.__dataclass_fields__), path), path),
        endpoints=_endpoints(document.get("endpoints", {}), path),
    )
    _check(settings)
    if "sandbox" in settings.roles:
        check_folders(settings.folders, settings.data)
    return settings


def _roles(named: str | None) -> tuple[str, ...]:
    """Of `--role a,b`, in a fixed order; all without it."""
    if named is None:
        return ROLES
    wanted = {name.strip() for name in named.split(",")}
    unknown = sorted(wanted - set(ROLES))
    if unknown:
        raise InvalidRequest(f"--role: `{unknown[0]}` is no role; there are {', '.join(ROLES)}, separated by commas.")
    return tuple(role for role in ROLES if role in wanted)


def _peers(table: Mapping[str, str], path: Path) -> PeerFiles | None:
    if not table:
        return None
    missing = [name for name in PEERS_KEYS if name not in table]
    if missing:
        raise InvalidRequest(f"Config file {path}: [peers] needs ca, cert and key; {missing[0]} is missing")
    return PeerFiles(*(Path(table[name]) for name in PEERS_KEYS))


def _hosts(listed: str | None, table: Mapping[str, Any], path: Path) -> dict[str, str]:
    """`name=https://host:port,...` of the environment, else the table of the same."""
    if not listed:
        for name, url in table.items():
            if not isinstance(url, str):
                raise InvalidRequest(f"Config file {path}: sandbox.hosts.{name} must be a string, not {url!r}")
        return dict(table)
    pairs = [entry.strip().partition("=") for entry in listed.split(",")]
    for name, sign, url in pairs:
        if not (name and sign and url):
            raise InvalidRequest("OUTRIDER_SANDBOX_HOSTS must be name=https://host:port, separated by commas.")
    found = {name: url for name, _, url in pairs}
    if len(found) != len(pairs):
        raise InvalidRequest("OUTRIDER_SANDBOX_HOSTS names a host twice.")
    return found


def _vault(values: Mapping[str, Any], path: Path) -> VaultSettings:
    check_kinds(values, "vault.", path)
    paths: dict[str, Any] = {name: path_of(values.get(name)) for name in ("key_file", "transit_token_file")}
    found = VaultSettings(**{**values, **paths})
    if bool(found.transit_url) != bool(found.transit_key):
        raise InvalidRequest(f"Config file {path}: vault.transit_url and vault.transit_key go together.")
    if found.transit_url and not found.transit_url.startswith(("https://", "http://127.0.0.1:", "http://[::1]:")):
        raise InvalidRequest(f"Config file {path}: vault.transit_url must be an https:// address, or one on loopback.")
    if found.transit_url and found.key_file:
        raise InvalidRequest(f"Config file {path}: give vault.key_file or vault.transit_url, not both.")
    return found


def _git(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    return table_of(document, "git", ("hosts",), path)


def _mcp(values: Mapping[str, Any], path: Path) -> McpSettings:
    private, numbers = _private_and_numbers(values, "mcp", path)
    return McpSettings(private, **numbers)


def _webhooks(values: Mapping[str, Any], path: Path) -> WebhookSettings:
    private, numbers = _private_and_numbers(values, "webhooks", path)
    return WebhookSettings(private, **numbers)


def _private_and_numbers(
    values: Mapping[str, Any], table: str, path: Path
) -> tuple[tuple[Allowance, ...], dict[str, Any]]:
    """`allow_private`, and all else, which are numbers above 0."""
    private = allowances(values.get("allow_private", []), f"Config file {path}: {table}")
    numbers = {name: value for name, value in values.items() if name != "allow_private"}
    for name, value in numbers.items():
        whole = name == "connections"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value <= 0:
            kind = "a whole number" if whole else "a number"
            raise InvalidRequest(f"Config file {path}: {table}.{name} must be {kind} above 0")
    return private, numbers


def _endpoints(values: Any, path: Path) -> dict[str, Any]:
    tables = cast("dict[str, Any]", values) if isinstance(values, dict) else {"": values}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise InvalidRequest(f"Config file {path}: an endpoint is a table, [endpoints.{name or 'name'}]")
    return tables


def _limits(values: dict[str, Any], path: Path) -> Limits:
    defaults = Limits()
    for name, value in values.items():
        whole = isinstance(getattr(defaults, name), int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or value < 0:
            kind = "a whole number" if whole else "a number"
            raise InvalidRequest(f"Config file {path}: limits.{name} must be {kind} that is not negative")
    return Limits(**values)


def _blobs(values: dict[str, Any], path: Path) -> BlobPlace:
    check_kinds(values, "blobs.", path)
    place = BlobPlace(**values)
    if place.url is None and values:
        raise InvalidRequest(f"Config file {path}: blobs.{min(values)} needs blobs.url beside it")
    if place.url is not None and not S3_URL.fullmatch(place.url):
        raise InvalidRequest(f"Config file {path}: blobs.url must be s3://bucket or s3://bucket/prefix")
    if place.endpoint is not None and not place.endpoint.startswith(("http://", "https://")):
        raise InvalidRequest(f"Config file {path}: blobs.endpoint must begin with http:// or https://")
    return place


def _retention(values: dict[str, Any], path: Path) -> Retention:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InvalidRequest(f"Config file {path}: retention.{name} must be a number of days above 0")
    return Retention(**values)


def _prices(values: dict[str, Any], path: Path) -> Prices:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= DEAREST:
            raise InvalidRequest(f"Config file {path}: prices.{name} must be US dollars from 0 to {DEAREST}")
    return Prices(**values)


def _check(settings: Settings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InvalidRequest("--tls-cert and --tls-key go together.")
    apart = "api" not in settings.roles  # then health alone is told there
    if settings.host not in LOOPBACK and not (apart or settings.tls_cert or settings.behind_proxy):
        raise InvalidRequest(
            f"Host {settings.host} is not loopback: give --tls-cert and --tls-key, or --behind-proxy if something"
            " in front of this server terminates TLS."
        )
    if settings.nats_url is not None and settings.database_url is None:
        raise InvalidRequest(
            f"server.nats_url ({NATS_URL}) needs server.database_url ({DATABASE_URL}): NATS only carries news between"
            " processes that share a PostgreSQL database, and keeps no session."
        )
    if not NATS_PREFIX.fullmatch(settings.nats_prefix):
        raise InvalidRequest("server.nats_prefix must be words of letters, digits, - and _, parted by dots.")
    if settings.sse_event_names not in ("type", "message"):
        raise InvalidRequest("server.sse_event_names must be `type` or `message`.")
    if settings.log_format not in LOG_FORMATS:
        raise InvalidRequest("server.log_format must be `text` or `json`.")
    if settings.metrics and not _ADDRESS.fullmatch(settings.metrics):
        raise InvalidRequest(f"server.metrics must be host:port, such as 127.0.0.1:9464, not {settings.metrics!r}.")
    if settings.otlp_endpoint and not settings.otlp_endpoint.startswith(("http://", "https://")):
        raise InvalidRequest("telemetry.otlp_endpoint must be an http or https URL (OTLP over HTTP).")
