"""The secrets' messages on the vault's socket, and the client of those who take secrets in."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import httpx2
import msgspec

from outrider.errors import Internal, InvalidRequest, NotFound, Overloaded
from outrider.ports.secrets import Notice
from outrider.ports.vaults import SecretRef
from outrider.ports.webhooks import Sent

SECRETS = "/secrets/"
VALIDATE_SECONDS = 90.0
SEND_SECONDS = 600.0  # the vault bounds it itself


class Put(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/put"""

    ref: SecretRef
    secret: dict[str, Any]


class Patch(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/patch"""

    ref: SecretRef
    before: int
    changes: dict[str, Any]


class Copy(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/copy"""

    source: SecretRef
    to: SecretRef


class Purge(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/purge"""

    ref: SecretRef
    older: bool = True


class Validate(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/validate"""

    ref: SecretRef


class Send(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/send: a webhook, to the address that lies beside its signing secret."""

    ref: SecretRef
    event: str
    payload: str


class Forget(msgspec.Struct, forbid_unknown_fields=True):
    """POST /secrets/forget"""

    up_to: int


class SecretsLink:
    """Implements `Secrets` and `Sender` over a client of the vault's socket, which belongs to the caller."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def put(self, ref: SecretRef, secret: dict[str, Any]) -> None:
        await self._post("put", Put(ref, secret))

    async def patch(self, ref: SecretRef, before: int, changes: dict[str, Any]) -> None:
        await self._post("patch", Patch(ref, before, changes))

    async def copy(self, source: SecretRef, to: SecretRef) -> None:
        await self._post("copy", Copy(source, to))

    async def purge(self, ref: SecretRef) -> None:
        await self._post("purge", Purge(ref))

    async def purge_one(self, ref: SecretRef) -> None:
        await self._post("purge", Purge(ref, older=False))

    async def held(self) -> set[SecretRef]:
        return set(msgspec.json.decode(await self._post("held", {}), type=list[SecretRef]))

    async def notices(self) -> list[Notice]:
        return msgspec.json.decode(await self._post("notices", {}), type=list[Notice])

    async def forget_notices(self, up_to: int) -> None:
        await self._post("forget", Forget(up_to))

    async def validate(self, ref: SecretRef) -> dict[str, Any]:
        found = await self._post("validate", {"ref": asdict(ref)}, timeout=VALIDATE_SECONDS)
        return msgspec.json.decode(found, type=dict[str, Any])

    async def send(self, ref: SecretRef, event: str, payload: str) -> Sent:
        found = await self._post("send", Send(ref, event, payload), timeout=SEND_SECONDS)
        return msgspec.json.decode(found, type=Sent)

    async def _post(self, what: str, message: Any, timeout: float | None = None) -> bytes:
        more: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        try:
            answer = await self._client.post(f"{SECRETS}{what}", content=msgspec.json.encode(message), **more)
        except httpx2.RequestError as error:
            reason = type(error).__name__
            raise Overloaded(f"The vault does not answer ({reason}); try again.", retry_after=1) from None
        if answer.status_code == 200:
            return answer.content
        if answer.status_code == 404:
            raise NotFound("The vault holds no such secret.")
        if answer.status_code in (400, 413):
            raise InvalidRequest(answer.json()["error"]["message"])
        if answer.status_code in (503, 529):
            raise Overloaded("The vault can't use its key at the moment; try again.", retry_after=1)
        raise Internal(f"The vault refused {what} with {answer.status_code}.")
