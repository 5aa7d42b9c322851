"""The built-in tools as the model sees them: names, descriptions, input schemas. What they do is the sandbox's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from outrider.harness import mcp
from outrider.harness.mcp import Listings
from outrider.harness.permissions import policy_of
from outrider.wire.limits import MAX_TOOLS


def _schema(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


DEFINITIONS: dict[str, dict[str, Any]] = {
    "bash": {
        "description": (
            "Run a command in a bash shell that keeps its working directory and variables between calls. Output is"
            " standard output and standard error together; input is empty. Start long-lived programs in the"
            " background with their output sent to a file."
        ),
        "input_schema": _schema(
            [],
            command=_text("The command line to run."),
            restart={"type": "boolean", "description": "Kill the shell and start a fresh one."},
            timeout_ms={"type": "integer", "description": "Time limit in milliseconds; 120000 unless given."},
        ),
    },
    "edit": {
        "description": "Replace an exact text in a file. It must occur once, unless replace_all is true.",
        "input_schema": _schema(
            ["file_path", "old_string", "new_string"],
            file_path=_text("The file; relative paths start at /workspace."),
            old_string=_text("The text to find, exactly as it stands in the file."),
            new_string=_text("The text to put in its place."),
            replace_all={"type": "boolean", "description": "Replace every occurrence."},
        ),
    },
    "glob": {
        "description": "List files whose paths match a pattern (`**` matches any depth), newest first, at most 200.",
        "input_schema": _schema(
            ["pattern"],
            pattern=_text("A pattern such as `src/**/*.py`."),
            path=_text("The folder to search; /workspace unless given."),
        ),
    },
    "grep": {
        "description": "Search file contents for a regular expression; results read `path:line:text`.",
        "input_schema": _schema(
            ["pattern"],
            pattern=_text("The regular expression."),
            path=_text("The file or folder to search; /workspace unless given."),
        ),
    },
    "read": {
        "description": "Read a text file (whole, or a range of lines), an image, or a PDF.",
        "input_schema": _schema(
            ["file_path"],
            file_path=_text("The file; relative paths start at /workspace."),
            view_range={
                "type": "array",
                "items": {"type": "integer"},
                "minItems": 2,
                "maxItems": 2,
                "description": "First and last line, counted from 1; a last line of 0 or less means the end.",
            },
        ),
    },
    "write": {
        "description": "Write a file, with its parent folders; an existing file is overwritten.",
        "input_schema": _schema(
            ["file_path", "content"],
            file_path=_text("The file; relative paths start at /workspace."),
            content=_text("The whole content."),
        ),
    },
}
BUILTINS = frozenset(DEFINITIONS)


def _elsewhere(definition: Any) -> Any:
    """The same tool where a worker runs it, in whatever directory it was given."""
    if isinstance(definition, dict):
        return {key: _elsewhere(value) for key, value in cast("dict[str, Any]", definition).items()}
    return definition.replace("/workspace", "the working directory") if isinstance(definition, str) else definition


ELSEWHERE: dict[str, dict[str, Any]] = _elsewhere(DEFINITIONS)


def model_tools(
    agent: dict[str, Any], listings: Listings | None = None, *, elsewhere: bool = False
) -> list[dict[str, Any]]:
    """The tools of a request, as many as it may have, in an order that never changes for one configuration: built-in by
    name, then custom, then those of the MCP servers that could be reached (`listings`). `elsewhere`: a worker runs the
    built-in ones."""
    return _all_tools(agent, listings, elsewhere)[:MAX_TOOLS]


def left_out(agent: dict[str, Any], listings: Listings) -> list[str]:
    """The names of tools that a request has no room for."""
    return [tool["name"] for tool in _all_tools(agent, listings, elsewhere=False)[MAX_TOOLS:]]


def _all_tools(agent: dict[str, Any], listings: Listings | None, elsewhere: bool) -> list[dict[str, Any]]:
    definitions = ELSEWHERE if elsewhere else DEFINITIONS
    builtin = [{"name": name, **definitions[name]} for name in sorted(BUILTINS) if policy_of(agent, name)]
    custom = sorted((tool for tool in agent["tools"] if tool["type"] == "custom"), key=lambda tool: tool["name"])
    own = builtin + [{key: tool[key] for key in ("name", "description", "input_schema")} for tool in custom]
    return own + mcp.definitions(agent, listings) if listings else own


def enabled(agent: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether the agent has any of these built-in tools."""
    return any(policy_of(dict(agent), name) for name in names)
