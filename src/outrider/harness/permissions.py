"""Permission policies: what an agent's configuration says about one tool call. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from outrider.harness.mcp import McpTool

TOOLSET = "agent_toolset_20260401"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evaluation` is absent when the tool is not enabled, so that no policy applied. `tool` is set for an MCP tool."""

    kind: Literal["builtin", "custom", "mcp"]
    permission: Literal["allow", "ask", "deny"]
    evaluation: dict[str, Any] | None
    tool: McpTool | None = None


def enabled_builtins(agent: dict[str, Any]) -> dict[str, str]:
    """Policy by name of each built-in tool that the agent's toolset lists as enabled or leaves at an enabled default.

    A name that the toolset does not list falls under the `*` key, when the default is enabled.
    """
    for tool in agent["tools"]:
        if tool["type"] == TOOLSET:
            return _policies(tool)
    return {}


def _policies(toolset: dict[str, Any]) -> dict[str, str]:
    default = toolset["default_config"]
    policies = {"*": default["permission_policy"]["type"]} if default["enabled"] else {}
    for config in toolset["configs"]:
        policies[config["name"]] = config["permission_policy"]["type"] if config["enabled"] else "off"
    return policies


def policy_of(agent: dict[str, Any], name: str) -> str | None:
    """The policy for a built-in tool, or None when it is not enabled."""
    policies = enabled_builtins(agent)
    policy = policies.get(name, policies.get("*"))
    return None if policy in (None, "off") else policy


def custom_names(agent: dict[str, Any]) -> set[str]:
    return {tool["name"] for tool in agent["tools"] if tool["type"] == "custom"}


def evaluate(
    agent: dict[str, Any], name: str, builtins: frozenset[str], mcp: Mapping[str, McpTool] | None = None
) -> Verdict:
    """`builtins` are the names that this server offers at all, `mcp` the tools of the agent's servers."""
    if name in custom_names(agent):
        return Verdict("custom", "allow", None)
    tool = (mcp or {}).get(name)
    if tool is not None:
        return Verdict("mcp", *_evaluated(tool.policy), tool)
    return Verdict("builtin", *_evaluated(policy_of(agent, name) if name in builtins else None))


def _evaluated(policy: str | None) -> tuple[Literal["allow", "ask", "deny"], dict[str, Any] | None]:
    if policy is None:
        return "deny", None
    return "ask" if policy == "always_ask" else "allow", {"type": policy}
