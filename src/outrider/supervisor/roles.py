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

from outrider.endpoints import Endpoints
from outrider.supervisor import children, places, shape
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
    """Opens the sockets. Raises InvalidRequest when an address can't be had."""
    endpoints, scripted = plan.endpoints, ()
    if "vault" in plan.settings.roles and endpoints.needs_scripted_server():
        listener = places.listen_tcp("127.0.0.1", 0)
        endpoints = endpoints.with_scripted_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        scripted = (_scripted(plan, listener.detach()),)
    urls: list[str] = []
    server, metrics_url = _server(plan, endpoints, urls)
    hosts = _sandboxes(plan, urls)
    vaults = _vault(plan, endpoints, urls)
    zygotes = [_zygote(plan)] if "sandbox" in plan.settings.roles else []
    return Cast((*zygotes, *scripted, *vaults, *hosts, *server), urls[0], metrics_url)


def _server(plan: Plan, endpoints: Endpoints, urls: list[str]) -> tuple[list[Role], str | None]:
    """The process of API and harness, or of one of them, and the address of its metrics."""
    settings, users = plan.settings, plan.users
    if not shape.has_server(settings):
        return [], None
    listener = places.listen_tcp(settings.host, settings.port)
    urls.append(_url(settings.host, listener.getsockname()[1], tls=settings.tls_cert is not None))
    public = listener.detach()
    metrics = places.listen_tcp(*settings.metrics_address) if settings.metrics_address is not None else None
    metrics_url = f"{_url(*metrics.getsockname()[:2], tls=False)}/metrics" if metrics is not None else None
    told = metrics.detach() if metrics is not None else -1
    peers = {} if plan.peers is None else {"peers": plan.peers}
    part = Part(
        "server",
        plan.roles.server,
        lambda main: main(
            settings,
            _socket(public),
            endpoints=endpoints,
            key_digest=plan.key_digest,
            **_credentials(plan),
            **peers,
            **({"metrics": _socket(told)} if told >= 0 else {}),
        ),
        (public, plan.credentials, *peers.values(), *([told] if told >= 0 else [])),
        users.server if users.apart else None,
    )
    return [_forked(part, 20.0)], metrics_url


def _credentials(plan: Plan) -> dict[str, Any]:
    found = json.loads(read_memory(plan.credentials))
    return {"credentials": found} if found else {}


def _vault(plan: Plan, endpoints: Endpoints, urls: list[str]) -> list[Role]:
    """Listens on the unix socket for a harness of this server, and over TLS for those elsewhere."""
    settings, users = plan.settings, plan.users
    if "vault" not in settings.roles:
        return []
    local = places.listen_unix(settings.vault_socket, users.server).detach() if "harness" in settings.roles else None
    ways = _egress(plan, users.vault)
    more: dict[str, int] = {}
    if settings.vault_listen and plan.peers is not None:
        more = {"peers": plan.peers, "remote": _listening(settings.vault_listen, "server.vault_listen", urls)}
    if settings.egress.listen and plan.peers is not None:
        far = _listening(settings.egress.listen, "egress.listen", urls)
        more |= {"peers": plan.peers, "far_egress": far}

    def call(main: Callable[..., object]) -> object:
        sockets = {name: _socket(more[name]) for name in ("remote", "far_egress") if name in more}
        told: dict[str, Any] = {"peers": more["peers"]} if more else {}
        told |= {} if ways is None else {"egress": _socket(ways)}
        listener = None if local is None else _socket(local)
        return main(settings, plan.secrets, listener, endpoints=endpoints, peer=users.server, **sockets, **told)

    kept = (plan.secrets, *(fd for fd in (local, ways) if fd is not None), *more.values())
    uid = users.vault if users.apart else None
    return [_forked(Part("vault", plan.roles.vault, call, kept, uid, locks=True), 10.0)]


def _egress(plan: Plan, owner: int) -> int | None:
    """Where this machine's sandboxes hand over their ways out: with a user each, they all may knock, and the vault
    looks who it is."""
    if plan.settings.egress_socket is None:
        return None
    listener = places.listen_unix(plan.settings.egress_socket, owner if plan.users.apart else os.geteuid())
    if plan.users.apart:
        plan.settings.egress_socket.chmod(0o666)
    return listener.detach()


def _sandboxes(plan: Plan, urls: list[str]) -> list[Role]:
    """The process that serves this machine's sandboxes to harnesses elsewhere."""
    settings, users, peers = plan.settings, plan.users, plan.peers
    if not settings.sandbox_listen or peers is None:
        return []
    listener = _listening(settings.sandbox_listen, "sandbox.listen", urls)
    ways = None if "vault" in settings.roles else _egress(plan, users.server)

    def call(main: Callable[..., object]) -> object:
        told = {} if ways is None else {"egress": _socket(ways)}
        return main(settings, _socket(listener), peers=peers, **told)

    part = Part(
        "sandboxes",
        plan.roles.sandboxes,
        call,
        (listener, peers, *([] if ways is None else [ways])),
        users.server if users.apart else None,
    )
    return [_forked(part, 10.0)]


def _listening(where: str, setting: str, urls: list[str]) -> int:
    host, port = shape.listening(where, setting)
    listener = places.listen_tcp(host, port)
    urls.append(_url(host, listener.getsockname()[1], tls=True))
    return listener.detach()


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
