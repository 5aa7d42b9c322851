"""Rules of an agent's `tools` and `mcp_servers`: every entry resolved against its defaults, names unique, toolsets and
servers in pairs, later features refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from outrider.errors import InvalidRequest, NotSupported
from outrider.wire.limits import MAX_TOOLS
from outrider.wire.urls import normalised

TOOLSET = "agent_toolset_20260401"
MCP_TOOLSET = "mcp_toolset"
ALLOW, ASK = {"type": "always_allow"}, {"type": "always_ask"}
WEB_TOOLS = ("web_fetch", "web_search")
BUILTIN_TOOLS = ("bash", "edit", "glob", "grep", "read", "write", *WEB_TOOLS)
COMMON_KEYS = frozenset({"name", "type", "enabled", "permission_policy"})
SCHEMA_DEPTH = 100  # deeper ones can't be relied on to survive every JSON reader on their way

Tool = Mapping[str, Any]


def resolved_tools(tools: Sequence[Tool], *, field: str = "tools") -> list[dict[str, Any]]:
    """The tools as responses show them. Raises InvalidRequest, or NotSupported for what this server doesn't offer."""
    resolved = [_resolved(tool, f"{field}.{index}") for index, tool in enumerate(tools)]
    _check_names(resolved, field)
    return resolved


def _resolved(tool: Tool, field: str) -> dict[str, Any]:
    if tool["type"] == TOOLSET:
        return _toolset(tool, field)
    return _custom(tool, field) if tool["type"] == "custom" else _mcp_toolset(tool, field)


def _toolset(tool: Tool, field: str) -> dict[str, Any]:
    default = _settings(tool.get("default_config") or {}, {"permission_policy": ALLOW}, f"{field}.default_config")
    entries = tool.get("configs", [])
    configs = [_config(entry, default, f"{field}.configs.{index}") for index, entry in enumerate(entries)]
    _check_unique([entry["name"] for entry in configs], f"{field}.configs")
    return {"type": TOOLSET, "default_config": default, "configs": configs}


def _mcp_toolset(tool: Tool, field: str) -> dict[str, Any]:
    """What a server offers is known only in a session, so an entry may name any tool."""
    default = _settings(tool.get("default_config") or {}, {"permission_policy": ASK}, f"{field}.default_config")
    configs = [
        {"name": entry["name"], **_settings(entry, default, f"{field}.configs.{index}")}
        for index, entry in enumerate(tool.get("configs", []))
    ]
    _check_unique([entry["name"] for entry in configs], f"{field}.configs")
    server = tool["mcp_server_name"]
    return {"type": MCP_TOOLSET, "mcp_server_name": server, "default_config": default, "configs": configs}


def resolved_servers(servers: Sequence[Tool], *, field: str = "mcp_servers") -> list[dict[str, Any]]:
    """An agent's `mcp_servers` as responses show them. Raises InvalidRequest."""
    _check_unique([server["name"] for server in servers], field)
    for index, server in enumerate(servers):
        normalised(server["url"], f"{field}.{index}.url")
    return [{"type": "url", "name": server["name"], "url": server["url"]} for server in servers]


def check_paired(tools: Sequence[Tool], servers: Sequence[Tool], *, prefix: str = "") -> None:
    """Every MCP toolset names a declared server, and every server has its toolset. Raises InvalidRequest."""
    declared = {server["name"] for server in servers}
    used = {tool["mcp_server_name"] for tool in tools if tool["type"] == MCP_TOOLSET}
    for index, tool in enumerate(tools):
        if tool["type"] == MCP_TOOLSET and tool["mcp_server_name"] not in declared:
            raise InvalidRequest(
                f"{prefix}tools.{index}.mcp_server_name: {tool['mcp_server_name']} is not in mcp_servers"
            )
    for index, server in enumerate(servers):
        if server["name"] not in used:
            raise InvalidRequest(f"{prefix}mcp_servers.{index}: no mcp_toolset in tools refers to {server['name']}")


def _config(entry: Tool, default: Tool, field: str) -> dict[str, Any]:
    name = entry["name"]
    config = {"name": name, "type": name, **_settings(entry, default, field)}
    if name in WEB_TOOLS and config["enabled"]:
        raise NotSupported(f"{field}: {name} is not offered by this server yet; set enabled to false")
    for key, value in entry.items():
        if key not in COMMON_KEYS and value is not None:
            raise NotSupported(f"{field}.{key}: {name} is not offered by this server yet")
    return config


def _settings(given: Tool, default: Tool, field: str) -> dict[str, Any]:
    """`enabled` and `permission_policy`; null means the default, as a missing key does."""
    enabled, policy = given.get("enabled"), given.get("permission_policy")
    if policy is not None and policy["type"] == "auto":
        raise NotSupported(f"{field}.permission_policy: auto is not offered by this server yet")
    return {
        "enabled": default.get("enabled", True) if enabled is None else enabled,
        "permission_policy": policy or default["permission_policy"],
    }


def _custom(tool: Tool, field: str) -> dict[str, Any]:
    schema = {key: value for key, value in tool["input_schema"].items() if not _means_absent(key, value)}
    if _deeper_than(SCHEMA_DEPTH, schema):
        raise InvalidRequest(f"{field}.input_schema: nested more than {SCHEMA_DEPTH} levels deep")
    return {"type": "custom", "name": tool["name"], "description": tool["description"], "input_schema": schema}


def _means_absent(key: str, value: object) -> bool:
    """The API lets these two be null; JSON Schema, and so the model, does not."""
    return value is None and key in ("properties", "required")


def _deeper_than(levels: int, value: Any) -> bool:
    if isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_deeper_than(levels - 1, child) for child in cast("list[Any]", value))


def enabled_builtins(tools: Sequence[Tool]) -> list[str]:
    """The built-in tools that resolved `tools` leave enabled, whether or not this server offers them."""
    return [name for tool in tools if tool["type"] == TOOLSET for name in BUILTIN_TOOLS if _is_enabled(tool, name)]


def _is_enabled(toolset: Tool, name: str) -> bool:
    own = next((config for config in toolset["configs"] if config["name"] == name), toolset["default_config"])
    return own["enabled"]


def _check_names(tools: Sequence[Tool], field: str) -> None:
    if sum(tool["type"] == TOOLSET for tool in tools) > 1:
        raise InvalidRequest(f"{field}: {TOOLSET} may be given only once")
    builtins = enabled_builtins(tools)
    custom = [tool["name"] for tool in tools if tool["type"] == "custom"]
    _check_unique(custom, field)
    clashes = sorted(set(builtins) & set(custom))
    if clashes:
        raise InvalidRequest(f"{field}: custom tool {clashes[0]} has the name of an enabled built-in tool")
    _check_unique([tool["mcp_server_name"] for tool in tools if tool["type"] == MCP_TOOLSET], field)
    named = sum(one["enabled"] for tool in tools if tool["type"] == MCP_TOOLSET for one in tool["configs"])
    if len(builtins) + len(custom) + named > MAX_TOOLS:
        raise InvalidRequest(f"{field}: at most {MAX_TOOLS} tools are allowed over all toolsets")


def _check_unique(names: Sequence[str], field: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InvalidRequest(f"{field}: {repeated[0]} is given more than once")
