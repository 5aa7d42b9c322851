"""The first process of `outrider serve`: reads what is secret, then replaces itself by one that never saw it.

After the exec nothing of this process is left in memory or in /proc; what it leaves open are the data directory's
lock, the plan, and the sealed memory file that only the vault reads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from outrider.config import DATABASE_URL, NATS_URL, Settings, offered_here
from outrider.endpoints import (
    VAULT_KEY,
    VAULT_TOKEN,
    load_endpoints,
    named_secrets,
    secret_variables,
    usable_secrets,
)
from outrider.errors import InvalidRequest, OutriderError
from outrider.links.peers import packed
from outrider.supervisor import first_key, log, places, plan, shape
from outrider.supervisor.log import say
from outrider.supervisor.plan import Plan, Roles, Users

REFUSED = 2
S3_KEYS = ("OUTRIDER_S3_ACCESS_KEY_ID", "OUTRIDER_S3_SECRET_ACCESS_KEY")
CREDENTIALS = (DATABASE_URL, NATS_URL, *S3_KEYS)
"""Of the infrastructure that the server process itself uses: only that process gets them."""


def run(settings: Settings, environment: dict[str, str], roles: Roles | None = None) -> int:
    """Serve. Returns only when the server can't start (2, the reason on stderr); otherwise this process becomes the
    supervisor, whose exit codes are in `supervisor.tree`."""
    log.choose(settings.log_format)
    try:
        made, secrets = _plan(settings, environment, roles or Roles())
    except OutriderError as error:
        say("refused", reason=error.message)
        return REFUSED
    except OSError as error:
        say("refused", reason=f"The data directory {settings.data} can't be used: {error}.")
        return REFUSED
    clean = {name: value for name, value in environment.items() if name not in secrets}
    _become_clean(made, clean)


def resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _plan(settings: Settings, environment: Mapping[str, str], roles: Roles) -> tuple[Plan, set[str]]:
    """The plan, and the names of the variables that must not survive."""
    identity = shape.check(settings, environment, datetime.now(UTC))
    names = secret_variables(environment, settings.endpoints)
    here = "vault" in settings.roles
    usable = usable_secrets(environment, settings.endpoints) if here else named_secrets(settings.endpoints)
    endpoints = load_endpoints(settings.endpoints, environment, usable)
    keys = {secret: _key(secret, environment) for secret in endpoints.secrets().values()} if here else {}
    keys |= vault_keys(settings, environment) if here else {}
    users = choose_users(settings)
    from outrider.doorbell import opening as doorbells
    from outrider.store import opening  # here, so that the clean process, which imports this module too, has it not

    opening.check(settings)
    _check_blobs(settings, environment)
    doorbells.check(settings)
    places.prepare(settings, users)
    lock = places.lock(settings.data)
    options = resolve(roles.zygote_options)(
        settings.sandboxes,
        settings.sandbox_run,
        settings.limits,
        egress=settings.egress_socket,
        harness_uid=users.server,
        strict=settings.strict_sandbox,
        folders=offered_here(settings.folders),
        build_environment=dict(settings.packages.environment),
        layer_days=settings.packages.unused_days,
        **({"host": os.uname().nodename} if settings.shared_workspaces else {}),
    )
    made = Plan(
        settings=settings,
        roles=roles,
        users=users,
        endpoints=endpoints,
        key_digest=first_key.digest(settings.data, environment) if "api" in settings.roles else "",
        zygote_options=options,
        path=tuple(os.path.abspath(entry) for entry in sys.path if entry),
        lock=lock,
        secrets=plan.memory_file("outrider-secrets", json.dumps(keys).encode()),
        credentials=plan.memory_file("outrider-credentials", json.dumps(credentials(environment)).encode()),
        peers=None if identity is None else plan.memory_file("outrider-peers", packed(identity)),
    )
    return made, names | {first_key.VARIABLE} | set(CREDENTIALS)


def _check_blobs(settings: Settings, environment: Mapping[str, str]) -> None:
    """A server process that can't reach its bucket for want of a key would only die again and again."""
    missing = [name for name in S3_KEYS if not environment.get(name)]
    if settings.blobs.url is not None and missing:
        raise InvalidRequest(f"blobs.url is set: the environment must have {missing[0]}, too.")


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in CREDENTIALS if environment.get(name)}


def vault_keys(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """What opens the vault's stored secrets, as far as it comes from the environment or a token's file."""
    found = {f"env:{name}": environment[name] for name in (VAULT_KEY, VAULT_TOKEN) if environment.get(name)}
    if settings.vault.transit_url:
        if settings.vault.transit_token_file is not None:
            found[f"env:{VAULT_TOKEN}"] = _key(f"file:{settings.vault.transit_token_file}", environment)
        elif f"env:{VAULT_TOKEN}" not in found:
            raise InvalidRequest(f"vault.transit_url needs a token: set {VAULT_TOKEN} or vault.transit_token_file.")
    return found


def _key(secret: str, environment: Mapping[str, str]) -> str:
    """The value behind `env:NAME` or `file:/path`, read by the invoking user."""
    kind, _, where = secret.partition(":")
    if kind == "env":
        return environment[where]
    try:
        return Path(where).read_text().strip()
    except OSError as error:
        raise InvalidRequest(f"The key file {where} can't be read: {error.strerror}.") from error


def choose_users(settings: Settings) -> Users:
    """A user for each role as root, where this user namespace has them; else the invoking user for all."""
    own = os.geteuid()
    wanted = range(settings.first_uid, settings.first_uid + 3)
    if own != 0:
        return Users(False, own, own, own)
    if not _mapped(wanted, Path("/proc/self/uid_map").read_text()):
        say("users-not-apart", reason=f"users {wanted.start} to {wanted.stop - 1} do not exist in this user namespace")
        return Users(False, own, own, own)
    return Users(True, *wanted)


def _mapped(users: range, uid_map: str) -> bool:
    spans = [[int(word) for word in line.split()] for line in uid_map.splitlines()]
    return any(start <= users.start and users.stop <= start + count for start, _, count in spans)


def _become_clean(made: Plan, environment: Mapping[str, str]) -> NoReturn:
    """Replace this process. The interpreter starts afresh, in safe-path mode, with the modules of this one's path."""
    told = plan.write(made)
    os.set_inheritable(told, True)
    os.set_inheritable(made.secrets, True)
    os.set_inheritable(made.credentials, True)
    if made.peers is not None:
        os.set_inheritable(made.peers, True)
    command = [sys.executable, "-P", "-m", "outrider.supervisor", str(told)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, dict(environment))
