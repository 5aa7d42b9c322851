"""Webhooks as they leave: signed by the Standard Webhooks scheme, posted once to the address beside the secret.

Promised: the name is resolved once, and only a judged address is connected to; no redirect is followed; plain HTTP, and
other ports than 443, lead only to addresses that the operator lets in. Of an answer nothing but the status is used.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from outrider import faults
from outrider.clock import Clock
from outrider.config import WebhookSettings
from outrider.errors import InvalidRequest
from outrider.networks import Address
from outrider.ports.webhooks import IN_VAULT, Sent
from outrider.proxy.credentials import Credentials, Who
from outrider.proxy.egress.addresses import denied
from outrider.proxy.egress.hosts import BadTarget, Target, target
from outrider.proxy.egress.reach import Resolve, Unreachable, judged, system_resolve
from outrider.proxy.outside import PORTS, Outside
from outrider.vault.envelope import Owner

SETTING = "[webhooks] allow_private"
PRIVATE = "private_address"
REDIRECT = "redirect"
PREFIX = "whsec_"
LONGEST_ANSWER = 64 * 1024


def signature(secret: str, event: str, stamp: int, payload: str) -> str:
    """The header `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.digest(key, f"{event}.{stamp}.{payload}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def origin(url: str) -> str:
    """What the record of uses says of an address: its path may be a secret, and outlives the endpoint there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Webhooks:
    """One for the process."""

    def __init__(
        self,
        credentials: Credentials,
        context: ssl.SSLContext,
        settings: WebhookSettings,
        clock: Clock,
        resolve: Resolve = system_resolve,
    ) -> None:
        self._credentials = credentials
        self._context = context
        self._settings = settings
        self._clock = clock
        self._resolve = resolve

    async def send(self, owner: Owner, event: str, payload: str) -> Sent:
        """Raises NotFound, InvalidRequest, and what says that the vault can't use its key."""
        if owner.vault != IN_VAULT:
            raise InvalidRequest("Not the secret of a webhook.")
        found = await self._credentials.latest(owner)
        sent = await self._sent(found, event, payload)
        outcome = sent.disable or ("no answer" if sent.status is None else str(sent.status))
        self._credentials.note(owner, Who(), origin(found["url"]), outcome, "webhook")
        return sent

    async def _sent(self, found: Mapping[str, Any], event: str, payload: str) -> Sent:
        url: str = found["url"]
        parts = urlsplit(url)
        try:
            where = target(parts.netloc.encode(), PORTS[parts.scheme])
            async with asyncio.timeout(self._settings.timeout):
                addresses = await self._addresses(where, parts.scheme)
                status = await self._posted(addresses, found, event, payload)
        except BadTarget as error:
            return Sent(None, str(error))
        except Unreachable as error:
            return Sent(None, str(error), PRIVATE if error.denied else None)
        except TimeoutError:
            return Sent(None, "no answer in time")
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            return Sent(None, f"no answer ({type(error).__name__})")
        if 300 <= status < 400:
            return Sent(status, "it answered with a redirect", REDIRECT)
        return Sent(status, None if 200 <= status < 300 else "it did not answer with a 2xx")

    async def _addresses(self, where: Target, scheme: str) -> list[Address]:
        allowed = self._settings.allow_private
        addresses = await judged(where, allowed, self._resolve, SETTING)
        if scheme == "https" and where.port == PORTS["https"]:
            return addresses
        own = [one for one in addresses if denied(one, where.port, ()) is not None]
        if not own:
            raise Unreachable(f"{where} is public, where webhooks go by https on port 443 alone")
        return own

    async def _posted(self, addresses: Sequence[Address], found: Mapping[str, Any], event: str, payload: str) -> int:
        async def pinned(_name: str, _port: int) -> list[str]:
            return [str(one) for one in addresses]

        stamp = int(datetime.fromisoformat(self._clock.now()).timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "outrider-webhooks",
            "webhook-id": event,
            "webhook-timestamp": str(stamp),
            "webhook-signature": signature(found["signing_secret"], event, stamp, payload),
        }
        outside = Outside(self._context, self._settings.allow_private, pinned)
        async with outside.client(self._settings.timeout, longest=LONGEST_ANSWER) as client:
            faults.point("vault.webhook.before")
            async with client.stream("POST", found["url"], content=payload.encode(), headers=headers) as answer:
                status = answer.status_code
            faults.point("vault.webhook.after")
        return status
