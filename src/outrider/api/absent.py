"""Resources of the API that this server does not have, each with the reason that a client is told beside its 404."""

from __future__ import annotations

ABSENT = {
    "/v1/user_profiles": "User profiles attribute requests to a Messages API, which this server does not offer.",
    "/v1/tunnels": "This server needs no tunnels: it reaches MCP servers from the network that it runs in.",
}


def reason(path: str) -> str | None:
    """Why there is nothing at this path; None where nothing is known of it."""
    return next((why for root, why in ABSENT.items() if path == root or path.startswith(f"{root}/")), None)
