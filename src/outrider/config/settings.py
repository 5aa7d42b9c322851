"""What can be set: frozen objects with their defaults, and the paths that follow from the data directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from outrider.config.folders import Folder
from outrider.config.packages import PackageSettings
from outrider.githosts import GITHUB, GitHost
from outrider.networks import Allowance, EgressSettings

FIRST_UID = 61_000  # as root: the server's user; the vault's and the scripted model's follow
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
ROLES = ("api", "harness", "sandbox", "vault")


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
    work_lease: float = 300.0
    file_bytes: int = 500 * 1024 * 1024
    file_storage_bytes: int = 1024**4
    dream_seconds: float = 7200.0
    dream_store_bytes: int = 64 * 1024**2
    dream_transcript_bytes: int = 1024**2


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
class RateLimits:
    """Requests a minute for each workspace, in one process; None: not limited. `changes` is what neither creates nor
    reads."""

    creates: int | None = None
    reads: int | None = None
    changes: int | None = None


HOSTED_RATES = RateLimits(creates=300, reads=1200)
"""The hosted service's published figures; it publishes none for changes."""


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


@dataclass(frozen=True, slots=True)
class McpSettings:
    """How MCP servers are reached: which that are not at public addresses, by how many connections, for how many
    seconds. `connect_timeout` is for connecting and learning the tools."""

    allow_private: tuple[Allowance, ...] = ()
    connections: int = 512
    connect_timeout: float = 15.0
    call_timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Prices:
    """What sessions are charged beside their models, in US dollars; the defaults are the hosted service's list."""

    running_hour: float = 0.08


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where webhooks may go that is not public, how long an endpoint may take, and the pauses between attempts, in
    seconds."""

    allow_private: tuple[Allowance, ...] = ()
    timeout: float = 15.0
    retry_first: float = 5.0
    retry_most: float = 120.0


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
    downloadable_uploads: bool = False
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
    rate_limits: RateLimits = field(default_factory=RateLimits)
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    vault: VaultSettings = field(default_factory=VaultSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)
    git_hosts: tuple[GitHost, ...] = (GITHUB,)
    folders: tuple[Folder, ...] = ()
    packages: PackageSettings = field(default_factory=PackageSettings)
    mcp: McpSettings = field(default_factory=McpSettings)
    prices: Prices = field(default_factory=Prices)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
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
        """Where this machine's sandboxes hand over their ways out: to the vault here, or to what passes them on."""
        here = "sandbox" in self.roles and ("vault" in self.roles or bool(self.egress.url))
        return self.run / "egress.sock" if here else None

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
