"""What a session's sandbox may reach, from the session's own log: its environment and its agent. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from outrider.ports.egress import EgressClaim
from outrider.session.state import Context


def claim_of(context: Context, session: str, workspace: str, epoch: int) -> EgressClaim:
    networking = context.environment.get("config", {}).get("networking") or {"type": "unrestricted"}
    servers: list[dict[str, str]] = context.agent.get("mcp_servers", [])
    hosts = [urlsplit(server["url"]).hostname for server in servers]
    return EgressClaim(session, epoch, workspace, networking, tuple(host for host in hosts if host))
