"""Permission policies: what an agent's configuration says about one tool call. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

TOOLSET = "agent_toolset_20260401"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evaluation` is absent when the tool is not enabled, so that no policy applied."""

    kind: Literal["builtin", "custom"]
    permission: Literal["allow", "ask", "deny"]
    evaluation: dict[str, Any] | None


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


def evaluate(agent: dict[str, Any], name: str, builtins: frozenset[str]) -> Verdict:
    """`builtins` are the names that this server offers at all."""
    if name in custom_names(agent):
        return Verdict("custom", "allow", None)
    policy = policy_of(agent, name) if name in builtins else None
    if policy is None:
        return Verdict("builtin", "deny", None)
    return Verdict("builtin", "ask" if policy == "always_ask" else "allow", {"type": policy})
