"""MCP tools as the model sees them: names that every model takes, definitions, policies. Pure.

A name tells server and tool. Where letters or length don't allow that, a digest of both keeps names apart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TOOLSET = "mcp_toolset"
PREFIX = "mcp__"
LONGEST_NAME = 64
DIGEST = 8
_LEGAL = re.compile(r"[A-Za-z0-9_-]+")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")

Listings = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each server that could be reached offers, by the server's name."""


@dataclass(frozen=True, slots=True)
class McpTool:
    """`policy` is None where the agent does not enable it."""

    server: str
    name: str
    policy: str | None
    description: str
    input_schema: dict[str, Any]


def model_name(server: str, tool: str) -> str:
    """`mcp__server__tool`; unlike that only where it could be read in two ways, or is no legal name."""
    plain = f"{PREFIX}{server}__{tool}"
    clear = "__" not in server and not server.endswith("_") and _LEGAL.fullmatch(server) and _LEGAL.fullmatch(tool)
    if clear and len(plain) <= LONGEST_NAME:
        return plain
    digest = hashlib.sha256(f"{len(server)}:{server}{tool}".encode()).hexdigest()[:DIGEST]
    legal = f"{PREFIX}{_ILLEGAL.sub('_', server)[:20]}__{_ILLEGAL.sub('_', tool)}"
    return f"{legal[: LONGEST_NAME - DIGEST - 1]}_{digest}"


def known(agent: Mapping[str, Any], listings: Listings) -> dict[str, McpTool]:
    """Every listed tool by the model's name for it, in the agent's order of servers. Of two with one name the first
    stays; so does a custom tool that has it."""
    taken = {tool["name"] for tool in agent["tools"] if tool["type"] == "custom"}
    found: dict[str, McpTool] = {}
    for toolset in agent["tools"]:
        if toolset["type"] != TOOLSET:
            continue
        server = toolset["mcp_server_name"]
        for tool in listings.get(server, ()):
            name = model_name(server, tool["name"])
            if name not in taken:
                found.setdefault(name, _tool(toolset, server, tool))
    return found


def _tool(toolset: Mapping[str, Any], server: str, tool: Mapping[str, Any]) -> McpTool:
    policy = _policy(toolset, tool["name"])
    return McpTool(server, tool["name"], policy, tool["description"], tool["input_schema"])


def _policy(toolset: Mapping[str, Any], name: str) -> str | None:
    own = next((one for one in toolset["configs"] if one["name"] == name), toolset["default_config"])
    return own["permission_policy"]["type"] if own["enabled"] else None


def definitions(agent: Mapping[str, Any], listings: Listings) -> list[dict[str, Any]]:
    """Of the enabled ones, by name."""
    tools = known(agent, listings)
    enabled = sorted(name for name, tool in tools.items() if tool.policy is not None)
    return [
        {"name": name, "description": tools[name].description, "input_schema": tools[name].input_schema}
        for name in enabled
    ]
