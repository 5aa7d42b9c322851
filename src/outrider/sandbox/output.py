"""Text on its way to the model: the tail of a command's output, cleaned, and the preview of a too long result."""

from __future__ import annotations

import re

OUTPUT_LIMIT = 100 * 1024
TRUNCATED = "[output truncated]\n"
RESULT_CHARACTERS = 100_000
PREVIEW_CHARACTERS = 4_000

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands, such as window titles
    r"|\x1b\[[0-9;?<=>!]*[ -/]*[@-~]"  # control sequences
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device control and other strings
    r"|\x1b[ -/]*[0-~]"  # two-character escapes
)


class Tail:
    """The last `OUTPUT_LIMIT` bytes of a stream."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._cut = False

    def add(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > 2 * OUTPUT_LIMIT:
            self._shorten()

    def _shorten(self) -> None:
        if len(self._kept) > OUTPUT_LIMIT:
            del self._kept[:-OUTPUT_LIMIT]
            self._cut = True

    def text(self) -> str:
        """Decoded, without escapes, NULs and trailing newlines; marked when its beginning is missing."""
        self._shorten()
        found = clean(self._kept.decode(errors="replace"))
        return TRUNCATED + found if self._cut else found


def clean(text: str) -> str:
    return _ESCAPES.sub("", text).replace("\x00", "").rstrip("\n")


def preview(text: str, whole: str) -> str:
    """Both ends of a long result, and what became of the whole."""
    return (
        f"{text[:PREVIEW_CHARACTERS]}\n\n[... {len(text):,} characters in all; {whole} ...]\n\n"
        f"{text[-PREVIEW_CHARACTERS:]}"
    )
