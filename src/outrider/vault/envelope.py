"""Envelope encryption of one secret: AES-256-GCM under a key of its own, which a key-encryption key wraps.

The owner is bound to both layers as associated data: a row that is moved to another owner does not open.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from outrider.errors import SecretsLocked
from outrider.ports.keys import KeyEncryption

FORM = "outrider-secret-1"
KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose secret: one version of one credential."""

    workspace: str
    vault: str
    credential: str
    version: int

    def bound(self) -> bytes:
        return json.dumps([FORM, self.workspace, self.vault, self.credential, self.version]).encode()


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is stored. `key` is the id of the key that wrapped `wrapped`."""

    key: str
    wrapped: bytes
    nonce: bytes
    ciphertext: bytes


async def seal(keeper: KeyEncryption, owner: Owner, secret: bytes) -> Sealed:
    data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
    ciphertext = AESGCM(data_key).encrypt(nonce, secret, owner.bound())
    return Sealed(keeper.id, await keeper.wrap(data_key, owner.bound()), nonce, ciphertext)


async def unseal(keeper: KeyEncryption, owner: Owner, sealed: Sealed) -> bytes:
    """Raises SecretsLocked, KeyUnavailable."""
    data_key = await keeper.unwrap(sealed.wrapped, owner.bound())
    try:
        return AESGCM(data_key).decrypt(sealed.nonce, sealed.ciphertext, owner.bound())
    except (InvalidTag, ValueError):
        raise SecretsLocked(f"The secret of credential {owner.credential} is damaged, or not of that owner.") from None


async def rewrap(old: KeyEncryption, new: KeyEncryption, owner: Owner, sealed: Sealed) -> Sealed:
    """The same secret under another key-encryption key; the secret itself stays closed."""
    data_key = await old.unwrap(sealed.wrapped, owner.bound())
    return Sealed(new.id, await new.wrap(data_key, owner.bound()), sealed.nonce, sealed.ciphertext)
