"""The roles of this server: what each child is, which sockets it gets, whose user it is. Opens those sockets.

The sockets stay open in the supervisor, so that a child's death refuses no connection: callers wait in the queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from outrider.supervisor import children, places
from outrider.supervisor.children import Part
from outrider.supervisor.plan import Plan, read_memory


@dataclass(frozen=True, slots=True)
class Role:
    """`begin` starts a process and gives its pid. `patience`: seconds that it may take to end when told to."""

    name: str
    begin: Callable[[], int]
    patience: float


@dataclass(frozen=True, slots=True)
class Cast:
    """All roles in the order in which they start, where the server listens, and where its metrics are, if anywhere."""

    roles: tuple[Role, ...]
    url: str
    metrics_url: str | None = None


def cast(plan: Plan) -> Cast:
    """Opens the sockets. Raises InvalidRequest when the server's address can't be had."""
    settings, users = plan.settings, plan.users
    listener = places.listen_tcp(settings.host, settings.port)
    url = _url(settings.host, listener.getsockname()[1], tls=settings.tls_cert is not None)
    public = listener.detach()
    metrics = places.listen_tcp(*settings.metrics_address) if settings.metrics_address is not None else None
    metrics_url = f"{_url(*metrics.getsockname()[:2], tls=False)}/metrics" if metrics is not None else None
    told = metrics.detach() if metrics is not None else -1
    private = places.listen_unix(settings.vault_socket, users.server).detach()
    endpoints, scripted = plan.endpoints, ()
    if endpoints.needs_scripted_server():
        listener = places.listen_tcp("127.0.0.1", 0)
        endpoints = endpoints.with_scripted_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        scripted = (_scripted(plan, listener.detach()),)
    vault = Part(
        "vault",
        plan.roles.vault,
        lambda main: main(settings, plan.secrets, _socket(private), endpoints=endpoints, peer=users.server),
        (plan.secrets, private),
        users.vault if users.apart else None,
    )
    server = Part(
        "server",
        plan.roles.server,
        lambda main: main(
            settings,
            _socket(public),
            endpoints=endpoints,
            key_digest=plan.key_digest,
            **_credentials(plan),
            **({"metrics": _socket(told)} if told >= 0 else {}),
        ),
        (public, plan.credentials, *([told] if told >= 0 else [])),
        users.server if users.apart else None,
    )
    return Cast((_zygote(plan), *scripted, _forked(vault, 10.0), _forked(server, 20.0)), url, metrics_url)


def _credentials(plan: Plan) -> dict[str, Any]:
    found = json.loads(read_memory(plan.credentials))
    return {"credentials": found} if found else {}


def _scripted(plan: Plan, fd: int) -> Role:
    uid = plan.users.scripted if plan.users.apart else None

    def serve(serve_on: Callable[..., Any]) -> None:
        asyncio.run(serve_on(_socket(fd)))

    return _forked(Part("scripted", plan.roles.scripted, serve, (fd,), uid), 5.0)


def _forked(part: Part, patience: float) -> Role:
    return Role(part.name, lambda: children.fork(part), patience)


def _zygote(plan: Plan) -> Role:
    def begin() -> int:
        options = {**plan.zygote_options, "parent": os.getpid()}
        return children.exec_zygote(plan.roles.zygote, plan.settings.zygote_socket, options, plan.path)

    return Role("zygote", begin, 5.0)


def _socket(fd: int) -> socket.socket:
    return socket.socket(fileno=fd)


def _url(host: str, port: int, *, tls: bool) -> str:
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{reached}]" if ":" in reached else reached
    return f"{'https' if tls else 'http'}://{shown}:{port}"
