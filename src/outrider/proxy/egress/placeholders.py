"""Placeholders for secrets: what a sandbox holds in a secret's place, and how one becomes the other on its way out.

A placeholder is good in its own session only. Promised: a secret goes into headers and bodies alone, where its
credential says so. Masked in answers: the secret as it is, and in the forms in which it was sent or is commonly echoed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

from outrider.ports.egress import EgressCredential
from outrider.proxy.mask import Mask

FILE = "egress-placeholders.key"
BEGIN = "outr_secret_"
SHORTEST_SECRET = 8  # shorter ones are not masked: that would change ordinary words

Headers = list[tuple[bytes, bytes]]


class Placeholders:
    """The same for a session and credential at all times, and unguessable without the key in `directory`."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE
        if not path.exists():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(os.urandom(32))
        self._key = path.read_bytes()

    def of(self, session: str, credential: EgressCredential) -> str:
        bound = json.dumps([session, credential.workspace, credential.vault, credential.credential]).encode()
        return BEGIN + hmac.digest(self._key, bound, hashlib.sha256).hex()[:40]


@dataclass(frozen=True, slots=True)
class Swap:
    """One credential that is for the host at hand. `secret` is shown by no repr."""

    credential: EgressCredential
    placeholder: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Proof:
    """A repository's token on its way: the header's value, and all that must not come back."""

    resource: str
    header: bytes = field(repr=False)
    secrets: frozenset[bytes] = field(repr=False)


class Unfit(Exception):
    """The secret can't stand in a header."""


@dataclass(slots=True)
class Injection:
    """What is swapped in one request; notes what was."""

    swaps: Sequence[Swap]
    used: set[str] = field(default_factory=set[str])
    forms: set[bytes] = field(default_factory=set[bytes], repr=False)
    proof: Proof | None = None

    def headers(self, headers: Headers) -> Headers:
        """Raises Unfit."""
        changed = [(name, self._value(name, value)) for name, value in headers]
        return changed if self.proof is None else [*changed, (b"authorization", self.proof.header)]

    def _value(self, name: bytes, value: bytes) -> bytes:
        for swap in self.swaps:
            if swap.credential.header:
                changed = self._basic(swap, value) if name == b"authorization" else None
                changed = changed or value.replace(swap.placeholder, swap.secret)
                if changed != value:
                    if any(byte < 32 or byte == 127 for byte in swap.secret):
                        raise Unfit(f"the secret of {swap.credential.name} can't stand in a header")
                    self.used.add(swap.credential.name)
                    value = changed
        return value

    def _basic(self, swap: Swap, value: bytes) -> bytes | None:
        scheme, _, encoded = value.partition(b" ")
        if scheme.lower() != b"basic":
            return None
        try:
            plain = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return None
        if swap.placeholder not in plain:
            return None
        changed = base64.b64encode(plain.replace(swap.placeholder, swap.secret))
        self.forms.add(changed)
        return scheme + b" " + changed

    @property
    def in_body(self) -> bool:
        return any(swap.credential.body for swap in self.swaps)

    def body(self) -> Body:
        return Body(self)


class Body:
    """Swaps in a body that comes in pieces, wherever they break."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection
        self._swaps = [swap for swap in injection.swaps if swap.credential.body]
        self._held = b""

    def feed(self, data: bytes, last: bool) -> bytes:
        found = self._held + data
        keep = 0 if last else max((_overlap(found, swap.placeholder) for swap in self._swaps), default=0)
        whole, self._held = found[: len(found) - keep], found[len(found) - keep :]
        for swap in self._swaps:
            if swap.placeholder in whole:
                self._injection.used.add(swap.credential.name)
                whole = whole.replace(swap.placeholder, swap.secret)
        return whole


def _overlap(data: bytes, word: bytes) -> int:
    """The length of the longest end of `data` that begins `word`."""
    for length in range(min(len(data), len(word) - 1), 0, -1):
        if data.endswith(word[:length]):
            return length
    return 0


class Masks:
    """Takes the secrets of an exchange out of its answer, each in all its forms."""

    def __init__(self, injection: Injection) -> None:
        forms = set(injection.forms)
        if injection.proof is not None:
            for secret in injection.proof.secrets:
                forms |= _forms(secret) if len(secret) >= SHORTEST_SECRET else set[bytes]()
        for swap in injection.swaps:
            if len(swap.secret) >= SHORTEST_SECRET:
                forms |= _forms(swap.secret)
        self._masks = [Mask(form) for form in sorted(forms, key=len, reverse=True)]

    def headers(self, headers: Headers) -> Headers:
        return [(name, self.whole(value)) for name, value in headers]

    def whole(self, data: bytes) -> bytes:
        for mask in self._masks:
            data = mask.whole(data)
        return data

    def feed(self, data: bytes, last: bool) -> bytes:
        for mask in self._masks:
            data = mask.feed(data) if data else b""
            if last:
                data += mask.rest()
        return data


def _forms(secret: bytes) -> set[bytes]:
    found = {secret, base64.b64encode(secret), quote(secret, safe="").encode(), quote_plus(secret, safe="").encode()}
    try:
        found.add(json.dumps(secret.decode())[1:-1].encode())
    except UnicodeDecodeError:
        pass
    return found
