"""Resources of the API that this server does not have."""

from __future__ import annotations

from conformance.requirements.entry import SDK, differs, docs

LEDGER = (
    differs(
        "absent:user-profiles",
        "User profiles attribute requests to the Messages API.",
        SDK,
        "404 with the reason: sessions have no field for them, and the Messages API is not offered",
    ),
    differs(
        "absent:tunnels",
        "Tunnels let the hosted service reach MCP servers in a private network.",
        docs("MCP tunnels reference"),
        "404 with the reason: a server inside that network reaches them by itself",
    ),
)
