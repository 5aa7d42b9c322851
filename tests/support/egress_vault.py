"""Beside an egress trial: a vault's stored secrets, the proxy that puts them in, and TLS servers that it may trust."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from egress_trial import Trial, Web

from outrider.clock import SystemClock
from outrider.ports.egress import EgressCredential
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.authority import Authority
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

FOR_API: dict[str, Any] = {"type": "limited", "allowed_hosts": ["api.example"]}


def credential(name: str = "API_TOKEN", **more: Any) -> EgressCredential:
    fields: dict[str, Any] = {"networking": FOR_API, "header": True, "body": True} | more
    return EgressCredential(name, "wrkspc_a", "vlt_1", f"vcrd_{name}", 1, **fields)


@asynccontextmanager
async def guarded(
    room: Trial, place: Path, secrets: Mapping[str, str], *names: str, web: Web | None = None
) -> AsyncGenerator[Web]:
    """A TLS server for the hosts `names`, whose authority the proxy trusts, and the proxy with these secrets."""
    public = place / "public"
    public.mkdir()
    outside = Authority(public)  # stands for the world's authorities
    upstream = ssl.create_default_context(cadata=outside.certificate)
    upstream.set_alpn_protocols(["http/1.1"])
    store = SecretStore.open(place, KeySources(place / "key"))
    for name, secret in secrets.items():
        owner = Owner("wrkspc_a", "vlt_1", f"vcrd_{name}", 1)
        await store.put(owner, material.pack({"type": "environment_variable", "secret_value": secret}))
    audit = Audit(place, SystemClock())
    credentials = Credentials(store, audit, Outside(upstream), SystemClock())
    injector = Injector(Authority(place), Placeholders(place), credentials, upstream)
    room.names = {name: ["127.0.0.1"] for name in names}
    context = outside.context(names[0])
    context.sni_callback = lambda connection, name, _: setattr(connection, "context", outside.context(name or ""))
    async with (web or Web()).serving(context) as found:
        async with room.proxy(f"127.0.0.1:{found.port}", injector=injector):
            yield found
    audit.close()
    store.close()
