"""Rules of environments: cloud sandboxes with an unrestricted or limited network and packages, or self-hosted ones,
whose tools a worker runs elsewhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import urlsplit

import msgspec

from outrider.errors import EnvironmentArchived, InvalidRequest
from outrider.ports.records import EnvironmentRecord
from outrider.resources import metadata, packages

LIMITED: Mapping[str, Any] = {
    "type": "limited",
    "allowed_hosts": (),
    "allow_mcp_servers": False,
    "allow_package_managers": False,
}
LONGEST_HOST = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
SELF_HOSTED = "self_hosted"
INVALID_METADATA = "invalid_metadata"

_decode = msgspec.json.Decoder(dict[str, Any]).decode

Environment = dict[str, Any]


def new_environment(request: Mapping[str, Any], *, id: str, now: str) -> Environment:
    """The environment as the API shows it. Raises InvalidRequest."""
    config = request.get("config")
    if config is not None:
        _check_config(config)
    _check_scope(request.get("scope"))
    return {
        "id": id,
        "type": "environment",
        "name": request["name"],
        "description": request.get("description"),
        "config": _new_config(config),
        "metadata": metadata.checked(request.get("metadata", {}), error_code=INVALID_METADATA),
        "scope": "organization",
        "created_at": now,
        "updated_at": now,
        "archived_at": None,
    }


def updated_environment(current: Environment, request: Mapping[str, Any], *, now: str) -> Environment | None:
    """The environment after an update, or None when nothing changes. Null keeps all but a description.

    Raises EnvironmentArchived and InvalidRequest.
    """
    if current["archived_at"] is not None:
        raise EnvironmentArchived(current["id"])
    config = request.get("config")
    if config is not None:
        _check_same_type(current["config"], config)
        _check_config(config)
    _check_scope(request.get("scope"))
    changed = current | _changes(current, request)
    if not is_self_hosted(changed):
        changed["config"] = _cloud(config, changed["config"])
    return None if changed == current else changed | {"updated_at": now}


def _changes(current: Environment, request: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if request.get("name") is not None:
        changes["name"] = request["name"]
    if "description" in request:
        changes["description"] = request["description"]
    if "metadata" in request:
        changes["metadata"] = metadata.merged(
            current["metadata"], request["metadata"], empty_deletes=True, error_code=INVALID_METADATA
        )
    return changes


def is_self_hosted(environment: Mapping[str, Any]) -> bool:
    return environment["config"]["type"] == SELF_HOSTED


def _new_config(config: Mapping[str, Any] | None) -> dict[str, Any]:
    if config is not None and config["type"] == SELF_HOSTED:
        return {"type": SELF_HOSTED}
    plain = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": packages.no_packages()}
    return _cloud(config, plain)


def _cloud(config: Mapping[str, Any] | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a request makes of a cloud config: what it does not name stays. Raises InvalidRequest."""
    given = None if config is None else config.get("packages")
    made = {
        **before,
        **_networking(config, before["networking"]),
        "packages": packages.merged(given, before["packages"]),
    }
    packages.check_reachable(made)
    return made


def _networking(config: Mapping[str, Any] | None, before: Mapping[str, Any]) -> dict[str, Any]:
    """What a request makes of the networking: none given keeps it, and so does a field of `limited` not given."""
    given = None if config is None else config.get("networking")
    if given is None:
        return {}
    if given["type"] == "unrestricted":
        return {"networking": {"type": "unrestricted"}}
    kept = before if before["type"] == "limited" else LIMITED
    fields = {name: kept[name] if given.get(name) is None else given[name] for name in LIMITED}
    return {"networking": {**fields, "allowed_hosts": list(fields["allowed_hosts"])}}


def _check_same_type(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    if asked["type"] != stored["type"]:
        raise InvalidRequest(
            f"config.type: an environment of type {stored['type']} can't become {asked['type']}",
            error_code="invalid_config_type_change",
        )


def _check_config(config: Mapping[str, Any]) -> None:
    networking = config.get("networking")
    hosts: list[str] = [] if networking is None else networking.get("allowed_hosts") or []
    for index, host in enumerate(hosts):
        if not _is_host(host):
            raise InvalidRequest(
                f"config.networking.allowed_hosts.{index}: Input should be a host name (in its ASCII form), an IPv4"
                f" address, or *. and a host name; no scheme, port or path; not {host!r}"
            )


def _is_host(text: str) -> bool:
    name = text.lower().removesuffix(".")
    labels = name.removeprefix("*.").split(".")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        try:
            return bool(IPv4Address(name))
        except ValueError:
            return False
    return len(name) <= LONGEST_HOST and all(_LABEL.fullmatch(label) for label in labels)


def _check_scope(scope: str | None) -> None:
    if scope not in (None, "organization"):
        raise InvalidRequest("scope: Input should be 'organization'; this server has no accounts")


def check_reaches_servers(environment: Environment, agent: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for an MCP server of the agent that `limited` networking shuts out."""
    networking: Mapping[str, Any] = environment["config"].get("networking", {})
    if networking.get("type") != "limited" or networking["allow_mcp_servers"]:
        return
    for server in agent["mcp_servers"]:
        host = urlsplit(str(server["url"])).hostname or ""
        if not any(_covers(rule, host) for rule in networking["allowed_hosts"]):
            raise InvalidRequest(
                f"agent.mcp_servers: MCP egress is blocked: {host} of server {server['name']} is not in the"
                " environment's allowed_hosts, and allow_mcp_servers is false"
            )


def lets_in(networking: Mapping[str, Any], servers: Collection[str], host: str) -> bool:
    """Whether something of this host, which may be a wildcard, can be reached. What package managers need is known to
    the operator alone, and may be anything."""
    if networking.get("type") != "limited" or networking.get("allow_package_managers"):
        return True
    rules = [*networking["allowed_hosts"], *(servers if networking.get("allow_mcp_servers") else ())]
    return any(_covers(rule, host) or _covers(host, rule) for rule in rules)


def _covers(rule: str, host: str) -> bool:
    rule, host = rule.lower().removesuffix("."), host.removesuffix(".")
    return host.endswith(rule[1:]) and host != rule[1:] if rule.startswith("*.") else host == rule


def check_offers_resources(environment: Environment, resources: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidRequest for a resource that only a sandbox of this server could hold."""
    held = [one["type"] for one in resources if one["type"] != "memory_store"]
    if is_self_hosted(environment) and held:
        raise InvalidRequest(
            f"Environment {environment['id']} is a self-hosted environment. `resources` are not supported with"
            f" self-hosted environments, other than memory stores; not {held[0]}."
        )


def environment_object(record: EnvironmentRecord) -> Environment:
    """A stored environment as the API shows it."""
    return _decode(record.body) | {"archived_at": record.archived_at}


def deleted_environment(id: str) -> dict[str, str]:
    return {"id": id, "type": "environment_deleted"}
