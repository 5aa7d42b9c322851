"""MCP servers and skills."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met

LEDGER = (
    met(
        "mcp:server",
        "A server entry has a name of 1 to 255 characters, an address of at most 2,048, and no secret.",
        docs("MCP connector"),
    ),
    met(
        "mcp:toolset",
        "An MCP toolset names its server and may set defaults and entries by tool name.",
        SDK,
    ),
    met(
        "mcp:paired",
        "Every server is named by a toolset and every toolset names a server, else 400.",
        SDK,
    ),
    met(
        "mcp:default-policy",
        "The default policy of MCP tools is `always_ask`.",
        docs("Permission policies"),
    ),
    met(
        "mcp:transport",
        "Streamable HTTP is tried first, then the older event stream.",
        docs("Reference"),
    ),
    met(
        "mcp:credential",
        "Credentials come from the session's vaults, matched by normalised address; none means no authentication.",
        docs("MCP connector"),
    ),
    met(
        "mcp:connection-failed",
        "A server that can't be reached is `session.error`; the turn goes on without its tools.",
        docs("MCP connector"),
    ),
    met(
        "mcp:authentication-failed",
        "A server that refuses the credential is `session.error`; the turn goes on without its tools.",
        docs("MCP connector"),
    ),
    met(
        "mcp:retried",
        "A failed connection is tried again when the session next starts to run.",
        docs("MCP connector"),
    ),
    met(
        "skills:entry",
        "A skill entry has type, id, and a version that defaults to `latest`.",
        SDK,
    ),
    met(
        "skills:need-read",
        "Skills without an enabled `read` tool are 400.",
        SDK,
    ),
    met(
        "skills:on-demand",
        "The model sees names and descriptions and reads a skill's files when it needs them.",
        docs("Skills"),
    ),
    met(
        "skills:unknown",
        "A skill or a version that isn't there is refused, for agents and for sessions.",
        INFERRED,
    ),
    met(
        "skills:pinned",
        "A session keeps the versions that it began with, and shows them in its agent.",
        INFERRED,
    ),
    met(
        "skills:read-only",
        "A skill's files lie in the sandbox outside the workspace, and can't be changed there.",
        docs("Skills"),
    ),
    met(
        "skills:repository",
        "A mounted repository's own skills are found at session start.",
        docs("Skills"),
    ),
)
