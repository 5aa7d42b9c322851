"""A key in the transit engine of OpenBao or HashiCorp Vault: data keys go there to be wrapped and unwrapped.

The key-encryption key never leaves that service. The owner goes along as associated data. Redirects are not followed;
the token is sent to the configured address only.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import httpx2

from outrider.errors import KeyUnavailable, SecretsLocked

DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class TransitKey:
    """Where the key is. `url` is the service's address, `mount` the engine's path, `token` what opens it."""

    url: str
    mount: str
    name: str
    token: str = field(repr=False)
    namespace: str = ""
    context: ssl.SSLContext | None = None

    @property
    def id(self) -> str:
        return f"transit-{self.url}/{self.mount}/{self.name}"

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        sent = {"plaintext": _text(data_key), "associated_data": _text(context)}
        return (await self._ask("encrypt", sent, "ciphertext")).encode()

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        sent = {"ciphertext": wrapped.decode(), "associated_data": _text(context)}
        found = await self._ask("decrypt", sent, "plaintext")
        try:
            return base64.b64decode(found, validate=True)
        except binascii.Error:
            raise KeyUnavailable(f"{self._named()} sent something that is no key.") from None

    async def _ask(self, what: str, sent: dict[str, str], wanted: str) -> str:
        path = f"/v1/{quote(self.mount)}/{what}/{quote(self.name, safe='')}"
        headers = {"x-vault-token": self.token, "x-vault-request": "true"}
        if self.namespace:
            headers["x-vault-namespace"] = self.namespace
        try:
            async with httpx2.AsyncClient(
                verify=self.context or httpx2.create_ssl_context(), timeout=DEADLINE, follow_redirects=False
            ) as client:
                answer = await client.post(self.url + path, json=sent, headers=headers)
        except httpx2.RequestError as error:
            raise KeyUnavailable(f"{self._named()} can't be reached ({type(error).__name__}).") from None
        return self._read(answer, wanted)

    def _read(self, answer: httpx2.Response, wanted: str) -> str:
        if answer.status_code == 400 and wanted == "plaintext":
            raise SecretsLocked(
                f"{self._named()} does not open this secret: it is another key, or the record is damaged."
            )
        if answer.status_code != 200:
            raise KeyUnavailable(f"{self._named()} answered {answer.status_code}: check its token, policy and seal.")
        try:
            document: Any = answer.json()
        except ValueError:
            document = None
        data = cast("dict[str, Any]", document).get("data") if isinstance(document, dict) else None
        found = cast("dict[str, Any]", data).get(wanted) if isinstance(data, dict) else None
        if not isinstance(found, str):
            raise KeyUnavailable(f"{self._named()} sent an answer without {wanted}.")
        return found

    def _named(self) -> str:
        return f"The key service at {self.url} (key {self.name})"


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
