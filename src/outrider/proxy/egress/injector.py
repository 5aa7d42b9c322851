"""A session's credentials at the proxy: what its sandbox is told in a secret's place, and the secret on its way out."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from outrider.errors import OutriderError
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.egress.hosts import Target
from outrider.proxy.egress.placeholders import Injection, Placeholders, Swap
from outrider.proxy.egress.policy import Policy
from outrider.vault.authority import PROTOCOLS, Authority
from outrider.vault.envelope import Owner

BUNDLE = "/etc/outrider/ca.pem"
TRUST_VARIABLES = (
    "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "CURL_CA_BUNDLE", "DENO_CERT", "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)  # fmt: skip


class Injector:
    def __init__(
        self, authority: Authority, placeholders: Placeholders, credentials: Credentials, upstream: ssl.SSLContext
    ) -> None:
        self.authority = authority
        self.upstream = upstream
        self._placeholders = placeholders
        self._credentials = credentials

    def tell(self, policy: Policy) -> Mapping[str, Any]:
        """As `door.Told`: a session without credentials needs no certificate of ours."""
        if not policy.credentials:
            return {"environment": {}, "trust": ""}
        held = {one.name: self._placeholders.of(policy.session, one) for one in policy.credentials}
        return {"environment": dict.fromkeys(TRUST_VARIABLES, BUNDLE) | held, "trust": self.authority.certificate}

    async def injection(self, policy: Policy, host: str) -> tuple[Injection, list[str]]:
        """What is swapped on the way to this host, and the names of those whose secret can't be had."""
        swaps: list[Swap] = []
        missing: list[str] = []
        for one in policy.credentials_for(host):
            owner = Owner(policy.workspace, one.vault, one.credential, one.version)
            try:
                found = await self._credentials.open(owner)
            except OutriderError:
                missing.append(one.name)
                continue
            placeholder = self._placeholders.of(policy.session, one).encode()
            swaps.append(Swap(one, placeholder, str(found["secret_value"]).encode()))
        return Injection(swaps), missing

    def note(self, policy: Policy, used: Sequence[str], where: Target) -> None:
        """Put the uses on record."""
        for one in policy.credentials:
            if one.name in used:
                owner = Owner(policy.workspace, one.vault, one.credential, one.version)
                who = Who(policy.session, policy.epoch)
                self._credentials.note(owner, who, f"https://{where}", "sent", "egress")


def upstream_context() -> ssl.SSLContext:
    """For hosts outside: their certificates are checked against this machine's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    return context
