"""The key-encryption keys that are at hand: where they come from, which one is in use, how the key file is written.

The file holds one key a line, the one in use first; more than one only while a rekey is under way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from outrider.errors import InvalidRequest, SecretsLocked
from outrider.ports.keys import KeyEncryption
from outrider.vault.envelope import KEY_BYTES, NONCE_BYTES

VARIABLE = "OUTRIDER_VAULT_KEY"
PREFIX = "outrider-vault-key-1:"


class LocalKey:
    """A key in this process's memory. Shown by no repr."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.id = f"local-{hashlib.sha256(b'outrider vault key id' + key).hexdigest()[:16]}"

    def __repr__(self) -> str:
        return f"LocalKey({self.id})"

    async def wrap(self, data_key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, data_key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return AESGCM(self._key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise SecretsLocked(f"Vault key {self.id} does not open this secret: its record is damaged.") from None

    def line(self) -> str:
        """As the key file and the variable have it."""
        return PREFIX + base64.b64encode(self._key).decode()


def new_key() -> LocalKey:
    return LocalKey(os.urandom(KEY_BYTES))


def read_keys(text: str, where: str) -> list[LocalKey]:
    """Keys, one a line or parted by commas. Raises InvalidRequest that names the place and never shows a key."""
    lines = [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]
    return [_read_key(line.removeprefix(PREFIX), where) for line in lines]


def _read_key(text: str, where: str) -> LocalKey:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidRequest(f"{where}: a vault key is {KEY_BYTES} random bytes in base64; this is something else.")
    return LocalKey(key)


@dataclass(frozen=True, slots=True)
class KeySources:
    """Where keys are looked for. `variable` is the text of `OUTRIDER_VAULT_KEY`, `outside` a key in other hands."""

    file: Path
    variable: str = field(default="", repr=False)
    outside: KeyEncryption | None = None

    @property
    def in_file(self) -> bool:
        """Whether the key in use is the file's."""
        return self.outside is None and not self.variable

    def load(self) -> Keys:
        """Raises InvalidRequest for what is no key."""
        listed: list[KeyEncryption] = [] if self.outside is None else [self.outside]
        listed += read_keys(self.variable, VARIABLE)
        return Keys([*listed, *self.file_keys()], self)

    def file_keys(self) -> list[LocalKey]:
        try:
            text = self.file.read_text("ascii")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise InvalidRequest(f"The vault's key file {self.file} can't be read: {reason}.") from None
        found = read_keys(text, f"The vault's key file {self.file}")
        if not found:
            raise InvalidRequest(f"The vault's key file {self.file} is empty: restore it from where you keep a copy.")
        return found

    def write_file(self, keys: Iterable[LocalKey]) -> None:
        """Whole or not at all, and on disk when this returns."""
        draft = self.file.with_name(f"{self.file.name}.new")
        try:
            self._write(draft, keys)
        except OSError as error:
            raise InvalidRequest(f"The vault's key file {self.file} can't be written: {error.strerror}.") from None

    def _write(self, draft: Path, keys: Iterable[LocalKey]) -> None:
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write("".join(f"{key.line()}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.file)
        self._sync_directory()

    def remove_file(self) -> None:
        self.file.unlink(missing_ok=True)
        self._sync_directory()

    def _sync_directory(self) -> None:
        fd = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def places(self) -> str:
        """For messages: where keys were looked for."""
        outside = "" if self.outside is None else f"{self.outside.id}, "
        return f"{outside}{VARIABLE} ({'set' if self.variable else 'not set'}) and {self.file}"


class Keys:
    """The keys at hand, the one in use first."""

    def __init__(self, listed: list[KeyEncryption], sources: KeySources) -> None:
        self._by_id = {key.id: key for key in reversed(listed)}
        self._first = listed[0] if listed else None
        self.sources = sources

    @property
    def current(self) -> KeyEncryption:
        if self._first is None:
            raise SecretsLocked(f"No vault key was found in {self.sources.places()}.")
        return self._first

    @property
    def any(self) -> bool:
        return self._first is not None

    def has(self, id: str) -> bool:
        return id in self._by_id

    def by_id(self, id: str) -> KeyEncryption:
        """Raises SecretsLocked that says what to bring back."""
        if id not in self._by_id:
            raise SecretsLocked(
                f"Stored secrets are encrypted with vault key {id}, which was not found in {self.sources.places()}."
                " Bring that key back: without it they can't be read, and a new key would not help."
            )
        return self._by_id[id]
