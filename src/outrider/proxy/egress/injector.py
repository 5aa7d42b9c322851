"""A session's credentials at the proxy: what its sandbox is told in a secret's place, and the secret on its way out."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import h11

from outrider.errors import OutriderError
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.egress.hosts import Target
from outrider.proxy.egress.placeholders import Injection, Placeholders, Proof, Swap
from outrider.proxy.egress.policy import Policy
from outrider.proxy.git.attached import KIND, Attached, authorization, takes_token
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
        if not policy.credentials and not policy.repositories:
            return {"environment": {}, "trust": ""}
        held = {one.name: self._placeholders.of(policy.session, one) for one in policy.credentials}
        return {"environment": dict.fromkeys(TRUST_VARIABLES, BUNDLE) | held, "trust": self.authority.certificate}

    async def injection(self, policy: Policy, where: Target, request: h11.Request) -> tuple[Injection, list[str]]:
        """What becomes of a request to this host, and the names of those whose secret can't be had."""
        swaps: list[Swap] = []
        missing: list[str] = []
        for one in policy.credentials_for(where.host):
            owner = Owner(policy.workspace, one.vault, one.credential, one.version)
            try:
                found = await self._credentials.open(owner)
            except OutriderError:
                missing.append(one.name)
                continue
            placeholder = self._placeholders.of(policy.session, one).encode()
            swaps.append(Swap(one, placeholder, str(found["secret_value"]).encode()))
        injection = Injection(swaps)
        found = policy.used_by(where, request.method, request.target)
        if found is not None and found.version and takes_token(request.headers):
            injection.proof = await self._proof(policy, found, where, request)
            if injection.proof is None:
                missing.append(found.place.url)
        return injection, missing

    async def _proof(self, policy: Policy, found: Attached, where: Target, request: h11.Request) -> Proof | None:
        """None when the token can't be had, or was given for another address."""
        use = found.place.use(where.host, where.port, request.method, request.target)
        owner = Owner(policy.workspace, policy.session, found.resource, found.version)
        try:
            held = await self._credentials.latest(owner)
        except OutriderError:
            return None
        if use is None or held.get("type") != KIND or held.get("url") != found.place.url:
            return None
        token = str(held["token"])
        header = authorization(use, found.place.user, token)
        return Proof(found.resource, header, frozenset((token.encode(), header.partition(b" ")[2])))

    def note(self, policy: Policy, injection: Injection, where: Target) -> None:
        """Put the uses on record."""
        who = Who(policy.session, policy.epoch)
        for one in policy.credentials:
            if one.name in injection.used:
                owner = Owner(policy.workspace, one.vault, one.credential, one.version)
                self._credentials.note(owner, who, f"https://{where}", "sent", "egress")
        if injection.proof is not None:
            owner = Owner(policy.workspace, policy.session, injection.proof.resource, 0)
            self._credentials.note(owner, who, f"https://{where}", "sent", "git")


def upstream_context() -> ssl.SSLContext:
    """For hosts outside: their certificates are checked against this machine's authorities."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    return context
