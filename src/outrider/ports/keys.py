"""The seam to whoever keeps the key that encrypts the keys of secrets: a file, a variable, an outside service."""

from __future__ import annotations

from typing import Protocol


class KeyEncryption(Protocol):
    """Wraps data keys of 32 bytes. `context` says whose key it is and must be the same for both ways."""

    @property
    def id(self) -> str:
        """Stored beside each wrapped key, to find the same key again. Says nothing about its value."""
        ...

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable."""
        ...

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Raises KeyUnavailable, and SecretsLocked for what this key did not wrap in this context."""
        ...
