"""What is presented to one MCP server: the credential's token, opened for each request, renewed when it is refused.

Promised: a token goes to the origin that its credential was made for, and to nobody else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from outrider.errors import InvalidRequest, KeyUnavailable, NotFound, SecretsLocked
from outrider.ports.vaults import SecretRef
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.outside import EXCHANGE, Exchange
from outrider.vault import material
from outrider.vault.envelope import Owner
from outrider.wire.urls import normalised

REMEMBERED = 16  # words, of a few generations of tokens: a server may echo one that is over
UNAUTHORISED = 401


class Access(httpx2.Auth):
    """One connection's. `ref` may move on to later versions of its credential; `seen` are secrets that were sent."""

    def __init__(self, url: str, credentials: Credentials, who: Who, ref: SecretRef | None) -> None:
        self.ref = ref
        self.who = who
        self.seen: dict[str, None] = {}
        self._url = url
        self._origin = _origin(httpx2.URL(url))
        self._credentials = credentials

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        owner = self._owner()
        if owner is None or _origin(request.url) != self._origin:
            yield request
            return
        found = await self._opened(owner)
        if found is None:
            yield request
            return
        self._present(request, found)
        response = yield request
        if response.status_code == UNAUTHORISED and found.get("refresh"):
            renewed, _ = await self._credentials.renew(owner, self.who, found["access_token"])
            if renewed["access_token"] != found["access_token"]:
                (EXCHANGE.get() or Exchange()).again()
                self._present(request, renewed)
                yield request

    def _owner(self) -> Owner | None:
        ref = self.ref
        return None if ref is None else Owner(ref.workspace, ref.vault, ref.credential, ref.version)

    async def _opened(self, owner: Owner) -> dict[str, Any] | None:
        """None for a secret that is gone: the request goes out without one."""
        try:
            found = await self._credentials.token(owner, self.who)
        except NotFound:
            return None
        except (KeyUnavailable, SecretsLocked):
            raise self._refused("the vault can't use its key at the moment") from None
        if not _is_for(found, self._url):
            raise self._refused("its credential was made for another server")
        return found

    def _refused(self, why: str) -> httpx2.ConnectError:
        (EXCHANGE.get() or Exchange()).problem = why
        return httpx2.ConnectError(why)

    def _present(self, request: httpx2.Request, found: dict[str, Any]) -> None:
        for word in material.words(found):
            self.seen.pop(word, None)
            self.seen[word] = None
        while len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]
        token = found.get("access_token") or found.get("token")
        request.headers["authorization"] = f"Bearer {token}"

    def note(self, exchange: Exchange, action: str) -> None:
        """Put an ask on record, if a credential was used for it."""
        owner = self._owner()
        if owner is not None and self.seen:
            outcome = "no answer" if exchange.status is None else str(exchange.status)
            self._credentials.note(owner, self.who, self._url, outcome, action)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_for(found: dict[str, Any], url: str) -> bool:
    """Whether the credential is for this server, by what is sealed with its secret."""
    try:
        return normalised(str(found.get("mcp_server_url", ""))) == normalised(url)
    except InvalidRequest:
        return False
