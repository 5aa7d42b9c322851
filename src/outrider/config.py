"""Settings: defaults, then the config file, then the environment, in one frozen object. Holds no secret."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from outrider.errors import InvalidRequest
from outrider.networks import EGRESS_KEYS, EgressSettings, egress_settings

DATABASE_URL = "OUTRIDER_DATABASE_URL"
NATS_URL = "OUTRIDER_NATS_URL"
NATS_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
FIRST_UID = 61_000  # as root: the server's user; the vault's and the scripted model's follow
SERVER_KEYS = (
    "host",
    "port",
    "behind_proxy",
    "tls_cert",
    "tls_key",
    "require_beta_header",
    "sse_event_names",
    "first_uid",
    "database_url",
    "log_format",
    "metrics",
    "nats_url",
    "nats_prefix",
    "vault_listen",
    "vault_url",
)
TABLES = ("server", "sandbox", "peers", "telemetry", "limits", "blobs", "retention", "egress", "endpoints", "vault")
LOG_FORMATS = ("text", "json")
SANDBOX_KEYS = ("strict", "listen", "hosts", "host_patience", "shared_workspaces", "lease")
PEERS_KEYS = ("ca", "cert", "key")
ROLES = ("api", "harness", "sandbox", "vault")
WHOLE, YES_OR_NO = (int, "a whole number"), (bool, "true or false")
KINDS: dict[str, tuple[type, str]] = {
    "port": WHOLE,
    "first_uid": WHOLE,
    "behind_proxy": YES_OR_NO,
    "require_beta_header": YES_OR_NO,
    "strict": YES_OR_NO,
    "shared_workspaces": YES_OR_NO,
    "host_patience": (float, "a number of seconds"),
    "lease": (float, "a number of seconds"),
    "hosts": (dict, "a table of names and addresses"),
}
"""Of the keys of `[server]` and `[sandbox]`; the others are strings."""
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):\d{1,5}")
S3_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._-]+)*/?")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on. Counts are per process; bytes are bytes, times are seconds."""

    running_sessions: int = 256
    live_sandboxes: int = 64
    body_bytes: int = 32 * 1024 * 1024
    tool_rounds: int = 500
    compactions_in_a_row: int = 3
    model_attempts: int = 5
    backoff_first: float = 1.0
    backoff_most: float = 60.0
    model_idle_timeout: float = 300.0
    heartbeat: float = 20.0
    replay_window: float = 2.0
    workspace_bytes: int = 10 * 1024**3
    log_reserve_bytes: int = 64 * 1024**2
    reserve_share: float = 0.05
    reserve_bytes: int = 1024**3
    sandbox_idle: float = 900.0


@dataclass(frozen=True, slots=True)
class BlobPlace:
    """Where blobs lie: `url` is `s3://bucket/prefix`; None means the data directory. Credentials are not here."""

    url: str | None = None
    endpoint: str | None = None
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True)
class Retention:
    """Days without a change after which a session's log is moved to the blob store, or the session deleted."""

    cold_after_days: float | None = None
    delete_after_days: float | None = None


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """PEM files by which this deployment's processes know each other: the authority, our certificate and its key."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class VaultSettings:
    """Where the key that encrypts stored secrets is: a file, or the transit engine at `transit_url`."""

    key_file: Path | None = None
    transit_url: str = ""
    transit_mount: str = "transit"
    transit_key: str = ""
    transit_namespace: str = ""
    transit_token_file: Path | None = None


VAULT_KEYS = tuple(VaultSettings.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Settings:
    """One server's settings. `data` holds everything durable; `run` holds sockets (short paths, remade at start)."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8400
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    require_beta_header: bool = True
    sse_event_names: str = "type"
    strict_sandbox: bool = False
    first_uid: int = FIRST_UID
    database_url: str | None = None
    log_format: Literal["text", "json"] = "text"
    metrics: str | None = None
    otlp_endpoint: str | None = None
    nats_url: str | None = None
    nats_prefix: str = "outrider"
    roles: tuple[str, ...] = ROLES
    peers: PeerFiles | None = None
    vault_listen: str | None = None
    vault_url: str | None = None
    sandbox_listen: str | None = None
    sandbox_hosts: Mapping[str, str] = field(default_factory=dict[str, str])
    sandbox_host_patience: float = 15.0
    sandbox_lease: float = 8.0
    shared_workspaces: bool = False
    limits: Limits = field(default_factory=Limits)
    blobs: BlobPlace = field(default_factory=BlobPlace)
    retention: Retention = field(default_factory=Retention)
    vault: VaultSettings = field(default_factory=VaultSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of `metrics`, None when it is not set."""
        if not self.metrics:
            return None
        host, _, port = self.metrics.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def vault_socket(self) -> Path:
        return self.run / "vault.sock"

    @property
    def vault_data(self) -> Path:
        """The vault's own directory, closed to all others."""
        return self.data / "vault"

    @property
    def vault_secrets(self) -> Path:
        """The vault's database: secrets as ciphertext."""
        return self.vault_data / "secrets.db"

    @property
    def node_file(self) -> Path:
        """Holds the name by which a database that several servers share knows the one on this directory."""
        return self.data / "node"

    @property
    def vault_key_file(self) -> Path:
        return self.vault.key_file or self.vault_data / "key"

    @property
    def egress_socket(self) -> Path | None:
        """Where sandboxes' ways out come in; none where sandboxes and vault are not on one machine."""
        return self.run / "egress.sock" if {"vault", "sandbox"} <= set(self.roles) else None

    @property
    def zygote_socket(self) -> Path:
        return self.run / "zygote.sock"

    @property
    def sandbox_run(self) -> Path:
        """Where each live sandbox has its socket."""
        return self.run / "s"

    @property
    def database(self) -> Path:
        return self.data / "outrider.db"

    @property
    def blob_files(self) -> Path:
        """Where blobs lie unless `blobs.url` says otherwise."""
        return self.data / "blobs"

    @property
    def sandboxes(self) -> Path:
        return self.data / "sandboxes"


def default_data(environment: Mapping[str, str]) -> Path:
    """`OUTRIDER_DATA`, else `/var/lib/outrider` as root, else `~/.outrider`."""
    if environment.get("OUTRIDER_DATA"):
        return Path(environment["OUTRIDER_DATA"])
    return Path("/var/lib/outrider") if os.geteuid() == 0 else Path.home() / ".outrider"


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
    path = Path(environment.get("OUTRIDER_CONFIG") or where / "config.toml")
    document = _read(path, required="OUTRIDER_CONFIG" in environment)
    _known(document, TABLES, "", path)
    server = _table(document, "server", SERVER_KEYS, path)
    sandbox = _table(document, "sandbox", SANDBOX_KEYS, path)
    peers = _table(document, "peers", PEERS_KEYS, path)
    telemetry = _table(document, "telemetry", ("otlp_endpoint",), path)
    _typed(server, "server.", path)
    _typed(sandbox, "sandbox.", path)
    _typed(peers, "peers.", path)
    _typed(telemetry, "telemetry.", path)
    settings = Settings(
        data=where,
        host=host or server.get("host", "127.0.0.1"),
        port=int(port if port is not None else server.get("port", 8400)),
        behind_proxy=behind_proxy or bool(server.get("behind_proxy", False)),
        tls_cert=tls_cert or _path(server.get("tls_cert")),
        tls_key=tls_key or _path(server.get("tls_key")),
        require_beta_header=bool(server.get("require_beta_header", True)),
        sse_event_names=server.get("sse_event_names", "type"),
        strict_sandbox=bool(sandbox.get("strict", False)),
        first_uid=int(server.get("first_uid", FIRST_UID)),
        database_url=_database_url(environment.get(DATABASE_URL), server.get("database_url"), path),
        log_format=server.get("log_format", "text"),
        metrics=server.get("metrics"),
        otlp_endpoint=telemetry.get("otlp_endpoint") or _otlp_endpoint(environment),
        nats_url=_nats_url(environment.get(NATS_URL), server.get("nats_url"), path),
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
        limits=_limits(_table(document, "limits", tuple(Limits.__dataclass_fields__), path), path),
        blobs=_blobs(_table(document, "blobs", tuple(BlobPlace.__dataclass_fields__), path), path),
        retention=_retention(_table(document, "retention", tuple(Retention.__dataclass_fields__), path), path),
        vault=_vault(_table(document, "vault", VAULT_KEYS, path), path),
        egress=egress_settings(_table(document, "egress", EGRESS_KEYS, path), f"Config file {path}: egress"),
        endpoints=_endpoints(document.get("endpoints", {}), path),
    )
    _check(settings)
    return settings


def _database_url(given: str | None, kept: str | None, path: Path) -> str | None:
    """The environment's URL, which may hold a password, without it; else the file's, which must hold none."""
    name, url = (DATABASE_URL, given) if given else (f"Config file {path}: server.database_url", kept)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        password = parts.password is not None or any(key == "password" for key, _ in parse_qsl(parts.query))
    except ValueError:
        raise InvalidRequest(f"{name} is not a URL.") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise InvalidRequest(f"{name} must begin with postgres:// or postgresql://.")
    if password and not given:
        raise InvalidRequest(f"{name} must hold no password: give the whole URL in {DATABASE_URL}.")
    place = parts.netloc.rpartition("@")[2]
    query = [(key, value) for key, value in parse_qsl(parts.query) if key != "password"]
    user = f"{parts.username}@" if parts.username is not None else ""
    asked = f"?{urlencode(query)}" if query else ""
    return f"{parts.scheme}://{user}{place}{parts.path}{asked}"


def _otlp_endpoint(environment: Mapping[str, str]) -> str | None:
    """The standard's variables, which the exporter reads by itself too. Its switch turns tracing off here as well."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((environment[name] for name in names if environment.get(name)), None)


def _nats_url(given: str | None, kept: str | None, path: Path) -> str | None:
    """The environment's URLs (several, parted by commas, for a cluster), without user, password or token; else the
    file's, which must hold none of these."""
    name, urls = (NATS_URL, given) if given else (f"Config file {path}: server.nats_url", kept)
    return ",".join(_nats_place(name, url.strip(), secret=bool(given)) for url in urls.split(",")) if urls else None


def _nats_place(name: str, url: str, *, secret: bool) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InvalidRequest(f"{name} is not a URL.") from None
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        raise InvalidRequest(f"{name} must begin with nats:// or tls:// and name a host.")
    if parts.username is not None and not secret:
        raise InvalidRequest(f"{name} must hold no user, password or token: give the whole URL in {NATS_URL}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


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
    _typed(values, "vault.", path)
    paths: dict[str, Any] = {name: _path(values.get(name)) for name in ("key_file", "transit_token_file")}
    found = VaultSettings(**{**values, **paths})
    if bool(found.transit_url) != bool(found.transit_key):
        raise InvalidRequest(f"Config file {path}: vault.transit_url and vault.transit_key go together.")
    if found.transit_url and not found.transit_url.startswith(("https://", "http://127.0.0.1:", "http://[::1]:")):
        raise InvalidRequest(f"Config file {path}: vault.transit_url must be an https:// address, or one on loopback.")
    if found.transit_url and found.key_file:
        raise InvalidRequest(f"Config file {path}: give vault.key_file or vault.transit_url, not both.")
    return found


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _read(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        if not path.exists() and not required:
            return {}
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequest(f"Config file {path}: {reason}") from error


def _known(values: Mapping[str, Any], known: Collection[str], table: str, path: Path) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidRequest(f"Config file {path}: unknown key {table}{unknown[0]}; known: {', '.join(known)}")


def _table(document: Mapping[str, Any], name: str, known: Collection[str], path: Path) -> dict[str, Any]:
    values = document.get(name, {})
    if not isinstance(values, dict):
        raise InvalidRequest(f"Config file {path}: {name} must be a table, [{name}]")
    table = cast("dict[str, Any]", values)
    _known(table, known, f"{name}.", path)
    return table


def _typed(values: Mapping[str, Any], table: str, path: Path) -> None:
    for name, value in values.items():
        kind, said = KINDS.get(name, (str, "a string"))
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise InvalidRequest(f"Config file {path}: {table}{name} must be {said}, not {value!r}")
    if not 0 <= values.get("port", 0) <= 65535:
        raise InvalidRequest(f"Config file {path}: {table}port must be from 0 to 65535, not {values['port']}")


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
    _typed(values, "blobs.", path)
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
