"""Takes a secret out of a stream of bytes, wherever chunks break. Finds exact occurrences only."""

from __future__ import annotations


class Mask:
    """Feed it chunks; what could be the beginning of the secret is held back until the next chunk or `rest`.

    An occurrence becomes as many asterisks, so that lengths stay what they were.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        if not self._secret:
            return chunk
        data = (self._held + chunk).replace(self._secret, b"*" * len(self._secret))
        keep = self._overlap(data)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]

    def rest(self) -> bytes:
        """What was held back, once no more will come."""
        held, self._held = self._held, b""
        return held

    def whole(self, data: bytes) -> bytes:
        return data.replace(self._secret, b"*" * len(self._secret)) if self._secret else data

    def _overlap(self, data: bytes) -> int:
        """The length of the longest end of `data` that begins the secret."""
        for length in range(min(len(data), len(self._secret) - 1), 0, -1):
            if data.endswith(self._secret[:length]):
                return length
        return 0
