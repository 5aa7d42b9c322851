"""Which of a deployment's roles this server plays, and what each needs: checked before anything starts.

Every refusal names the setting and the rule. Owns no reading of files but the peers' certificates.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from outrider.config import Settings
from outrider.errors import InvalidRequest
from outrider.links import peers
from outrider.links.peers import Identity, Peer

SHORTEST_LEASE = 6.0  # a beat, the store's answer to it, and the next one, each of two seconds
MARGIN = 2.0
DATABASE_VARIABLE = "OUTRIDER_DATABASE_URL"
NOT_FOR_OTHERS = (DATABASE_VARIABLE, "OUTRIDER_NATS_URL", "OUTRIDER_API_KEY")
"""Variables that only a server with the role api or harness may be given: they hold credentials of the log's store."""
MODEL_KEYS = ("OUTRIDER_MODEL_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


def has_server(settings: Settings) -> bool:
    """Whether the process of API and harness runs here."""
    return bool({"api", "harness"} & set(settings.roles))


def check(settings: Settings, environment: Mapping[str, str], now: datetime) -> Identity | None:
    """The certificates to use among peers, None where none are needed. Raises InvalidRequest."""
    roles = set(settings.roles)
    _check_store(settings, roles, environment)
    _check_credentials(roles, environment)
    _check_vault(settings, roles)
    _check_sandboxes(settings, roles)
    _check_egress(settings, roles)
    if not _speaks_to_peers(settings):
        return None
    if settings.peers is None:
        raise InvalidRequest(
            "Roles that stand apart speak over mutual TLS: give ca, cert and key in the table [peers] of the config"
            " file (`outrider tls` makes them)."
        )
    identity = peers.load(settings.peers.ca, settings.peers.cert, settings.peers.key)
    _check_own_roles(settings, peers.own(identity, now))
    return identity


def _speaks_to_peers(settings: Settings) -> bool:
    if settings.egress.listen or settings.egress.url:
        return True
    return bool(settings.vault_url or settings.vault_listen or settings.sandbox_hosts or settings.sandbox_listen)


def _check_store(settings: Settings, roles: set[str], environment: Mapping[str, str]) -> None:
    split = len({"api", "harness"} & roles) == 1
    if split and not (environment.get(DATABASE_VARIABLE) or settings.database_url):
        missing = "harness" if "api" in roles else "api"
        raise InvalidRequest(
            f"The role {missing} runs elsewhere, and two processes can't share SQLite: set {DATABASE_VARIABLE}, or add"
            f" {missing} to --role."
        )


def _check_credentials(roles: set[str], environment: Mapping[str, str]) -> None:
    """A role that has no use for a credential must not be handed it: then it can't be taken from there either."""
    if "vault" not in roles:
        for name in MODEL_KEYS:
            if environment.get(name) and not environment[name].startswith("outr_"):
                raise InvalidRequest(f"{name} is for the role vault alone, which this server has not: unset it.")
    if not {"api", "harness"} & roles:
        for name in NOT_FOR_OTHERS:
            if environment.get(name):
                raise InvalidRequest(f"{name} is for the roles api and harness, and this server has neither: unset it.")


def _check_vault(settings: Settings, roles: set[str]) -> None:
    if "harness" in roles and "vault" not in roles and not settings.vault_url:
        raise InvalidRequest("The role harness without the role vault needs OUTRIDER_VAULT_URL (https://host:port).")
    if settings.vault_url:
        if not {"api", "harness"} & roles or "vault" in roles:
            raise InvalidRequest(
                "OUTRIDER_VAULT_URL (server.vault_url) is for an api or harness without a vault of its own; here the"
                f" roles are {', '.join(settings.roles)}."
            )
        peers.address(settings.vault_url, "OUTRIDER_VAULT_URL")
    if settings.vault_listen:
        if "vault" not in roles:
            raise InvalidRequest("server.vault_listen is for the role vault, which this server has not.")
        listening(settings.vault_listen, "server.vault_listen")
    elif "vault" in roles and "harness" not in roles:
        raise InvalidRequest("The role vault without the role harness needs server.vault_listen (host:port).")


def _check_sandboxes(settings: Settings, roles: set[str]) -> None:
    if settings.sandbox_hosts and "harness" not in roles:
        raise InvalidRequest(
            "OUTRIDER_SANDBOX_HOSTS (sandbox.hosts) is for the role harness, which this server has not."
        )
    for name, url in settings.sandbox_hosts.items():
        if not peers.NAME.fullmatch(name):
            raise InvalidRequest(f"OUTRIDER_SANDBOX_HOSTS: `{name}` must be lower-case letters, digits, `.` and `-`.")
        peers.address(url, f"OUTRIDER_SANDBOX_HOSTS: {name}")
    if "harness" in roles and "sandbox" not in roles and not settings.sandbox_hosts:
        raise InvalidRequest(
            "The role harness without the role sandbox needs OUTRIDER_SANDBOX_HOSTS (name=https://host:port,...)."
        )
    if settings.sandbox_listen:
        if "sandbox" not in roles:
            raise InvalidRequest("sandbox.listen is for the role sandbox, which this server has not.")
        listening(settings.sandbox_listen, "sandbox.listen")
    elif "sandbox" in roles and ("harness" not in roles or settings.sandbox_hosts):
        raise InvalidRequest("The role sandbox for harnesses elsewhere needs sandbox.listen (host:port).")
    longest = settings.sandbox_host_patience - MARGIN
    if settings.shared_workspaces and not SHORTEST_LEASE <= settings.sandbox_lease <= longest:
        raise InvalidRequest(
            f"sandbox.lease must be from {SHORTEST_LEASE:g} s to {longest:g} s ({MARGIN:g} s less than"
            " sandbox.host_patience): a session may only move when its old sandbox has ended."
        )


def _check_egress(settings: Settings, roles: set[str]) -> None:
    if settings.egress.listen:
        if "vault" not in roles:
            raise InvalidRequest("egress.listen is for the role vault, which this server has not.")
        listening(settings.egress.listen, "egress.listen")
    if settings.egress.url:
        if "vault" in roles or not settings.sandbox_listen:
            raise InvalidRequest("egress.url is for the role sandbox by itself (sandbox.listen), without a vault.")
        peers.address(settings.egress.url, "egress.url")


def listening(value: str, setting: str) -> tuple[str, int]:
    """(host, port) of `host:port`; the host may be an IPv6 address in brackets."""
    host, sign, port = value.rpartition(":")
    if not (sign and host and port.isdecimal() and int(port) <= 65535):
        raise InvalidRequest(f"{setting} must be host:port, not {value!r}.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _check_own_roles(settings: Settings, peer: Peer | None) -> None:
    """A certificate for the wrong role would be refused by everybody: better here, once, with a reason."""
    needed = [
        role for role in settings.roles if role in ("api", "vault", "sandbox", "harness") and _used(settings, role)
    ]
    missing = [role for role in needed if peer is None or role not in peer.roles]
    if missing and settings.peers is not None:
        has = ", ".join(sorted(peer.roles)) if peer is not None else "no role"
        raise InvalidRequest(f"peers.cert: {settings.peers.cert} is for {has}; this server needs {', '.join(missing)}.")


def _used(settings: Settings, role: str) -> bool:
    return {
        "api": bool(settings.vault_url) and "harness" not in settings.roles,
        "vault": bool(settings.vault_listen or settings.egress.listen),
        "sandbox": bool(settings.sandbox_listen),
        "harness": bool(settings.vault_url or settings.sandbox_hosts),
    }[role]
