"""The file tools read, write and edit, as they run inside the sandbox: in a locked-down process among its others.

Paths mean what they mean to the sandbox's own programs, but for /proc's magic links, which are refused. Only regular
files are touched, and nothing here waits on one. Standard library only; imports nothing at run time.
"""

from __future__ import annotations

import binascii
import errno
import os
import stat
from typing import Any

from outrider.sandbox import launcher, linux

TEXT_LIMIT = 256 * 1024
IMAGE_LIMIT = 5 * 1024**2 // 4 * 3  # raw bytes whose base64 form has 5 MiB
PDF_LIMIT = 20 * 1024**2
PDF = "application/pdf"
MEDIA = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".pdf": PDF,
}
_REASONS = {
    errno.ENOENT: "no such file or directory",
    errno.ENOTDIR: "not a directory",
    errno.EISDIR: "is a directory",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "too many levels of symbolic links, or a link into /proc",
    errno.EROFS: "read-only file system",
    errno.ENXIO: "not a regular file",
}

Block = dict[str, Any]


class ToolProblem(Exception):
    """The tool fails with this text."""


def reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or (error.strerror or "input/output error").lower()


def absolute(path: str) -> str:
    return os.path.join(launcher.WORKSPACE, path)


def open_regular(path: str, flags: int) -> tuple[int, os.stat_result]:
    """Open without waiting, and refuse all but regular files."""
    fd = linux.openat2(
        -100,
        absolute(path),
        flags | os.O_NONBLOCK | os.O_NOCTTY,
        mode=0o644 if flags & os.O_CREAT else 0,
        resolve=linux.RESOLVE_NO_MAGICLINKS,
    )
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return fd, found
    os.close(fd)
    raise ToolProblem(f"{path}: {'is a directory' if stat.S_ISDIR(found.st_mode) else 'not a regular file'}")


def read(given: dict[str, Any]) -> list[Block]:
    path: str = given["file_path"]
    wanted: list[int] | None = given.get("view_range")
    fd, found = open_regular(path, os.O_RDONLY)
    media = MEDIA.get(os.path.splitext(path)[1].lower())
    if media is not None:
        if wanted:
            raise ToolProblem("view_range is not supported for image/PDF files")
        return [_media_block(fd, path, media)]
    if wanted:
        return [text_block(_lines(fd, path, wanted))]
    if found.st_size > TEXT_LIMIT:
        raise ToolProblem(
            f"{path} is {found.st_size} bytes, exceeds {TEXT_LIMIT}-byte limit. "
            "Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500]."
        )
    return [text_block(_decoded(_all_of(fd, TEXT_LIMIT, path), path))]


def text_block(text: str) -> Block:
    """A block for the model, which takes no empty text."""
    return {"type": "text", "text": text or "(no output)"}


def _all_of(fd: int, limit: int, path: str) -> bytes:
    """The file's bytes; it may grow while it is read, so its size alone is not trusted."""
    content = bytearray()
    while chunk := os.read(fd, 1 << 20):
        content += chunk
        if len(content) > limit:
            raise ToolProblem(f"{path}: exceeds {limit}-byte limit")
    return bytes(content)


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ToolProblem(
            f"{path}: not valid UTF-8 text (binary files are only supported for image/PDF extensions)"
        ) from error


def _media_block(fd: int, path: str, media: str) -> Block:
    limit = PDF_LIMIT if media == PDF else IMAGE_LIMIT
    size = os.fstat(fd).st_size
    if size > limit:
        raise ToolProblem(f"{path} is {size} bytes, exceeds {limit}-byte limit for image/PDF files.")
    data = binascii.b2a_base64(_all_of(fd, limit, path), newline=False).decode()
    kind = "document" if media == PDF else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": media, "data": data}}


def _lines(fd: int, path: str, wanted: list[int]) -> str:
    """Lines `start` to `end` (1-based, inclusive; `end` 0 or less: to the end), read as a stream."""
    first, last = max(1, wanted[0]), wanted[1] if wanted[1] > 0 else None
    chosen = bytearray()
    number = 1
    with open(fd, "rb") as file:
        while (last is None or number <= last) and (piece := file.readline(TEXT_LIMIT + 1)):
            if number >= first:
                chosen += piece
            if len(chosen) > TEXT_LIMIT:
                raise ToolProblem(f"view_range {wanted} of {path} exceeds {TEXT_LIMIT}-byte limit; narrow it")
            number += piece.endswith(b"\n")
    if last is not None and chosen.endswith(b"\n") and chosen.count(b"\n") == last - first + 1:
        del chosen[-1]
    return _decoded(bytes(chosen), path)


def write(given: dict[str, Any]) -> list[Block]:
    path, content = given["file_path"], given["content"].encode()
    os.makedirs(os.path.dirname(absolute(path)), exist_ok=True)
    _store(path, content)
    return [text_block(f"wrote {len(content)} bytes to {path}")]


def _store(path: str, content: bytes) -> None:
    # Truncated only once it is known to be a regular file.
    fd, _ = open_regular(path, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(fd, 0)
    with open(fd, "wb") as file:
        file.write(content)


def edit(given: dict[str, Any]) -> list[Block]:
    path, old, new = given["file_path"], given["old_string"], given["new_string"]
    fd, found = open_regular(path, os.O_RDONLY)
    if found.st_size > TEXT_LIMIT:
        raise ToolProblem(
            f"{path} is {found.st_size} bytes, exceeds {TEXT_LIMIT}-byte limit. "
            "The edit tool loads the whole file and cannot modify a file this large."
        )
    text = _decoded(_all_of(fd, TEXT_LIMIT, path), path)
    count = text.count(old)
    if count == 0:
        raise ToolProblem(f"old_string not found in {path}")
    if count > 1 and not given.get("replace_all"):
        raise ToolProblem(f"old_string appears {count} times in {path} (must be unique)")
    _store(path, text.replace(old, new).encode())
    return [text_block(f"edited {path} ({count} replacement(s))")]
