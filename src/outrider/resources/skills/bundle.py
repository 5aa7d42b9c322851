"""The files of one skill: read from a hostile upload, checked, and packed as every version is kept.

A bundle's files lie by their paths within the skill, without the directory around them. Everything that could escape,
shadow or swell is refused here, with the field `files` named; nothing is left out silently.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from outrider.errors import InvalidRequest
from outrider.wire.skill_file import LONGEST_DESCRIPTION, NAME, SKILL_FILE, frontmatter, plain

MOST_BYTES = 30 * 1024**2
"""Of all files of a skill together, uncompressed."""
MOST_FILES = 1_000
DEEPEST = 16
LONGEST_PART = 255
"""Of a path, in bytes."""
ARCHIVE = ".zip"
MOST_ENTRIES = 4 * MOST_FILES
"""Directories and the entries of stored archives count as well."""
ENTRY = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
ENCRYPTED = 0x1
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
"""What reading a damaged archive may raise."""
EARLIEST = (1980, 1, 1, 0, 0, 0)
RESERVED = ("anthropic", "claude")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")
_TAG = re.compile(r"<[A-Za-z/!?][^>]*>")


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """A whole skill. `files` by path; SKILL.md is among them."""

    name: str
    description: str
    files: Mapping[str, Content]

    @property
    def size(self) -> int:
        return sum(len(content.data) for content in self.files.values())


@dataclass(slots=True)
class _Gathered:
    """Files by the whole paths that they were uploaded under."""

    files: dict[str, Content] = field(default_factory=dict[str, Content])
    size: int = 0

    def add(self, path: str, content: Content) -> None:
        _check_path(path)
        if path in self.files:
            raise _refused(f"{_shown(path)} is there twice")
        self.size += len(content.data)
        self.files[path] = content
        if self.size > MOST_BYTES:
            raise _too_large()
        if len(self.files) > MOST_FILES:
            raise _refused(f"a skill should have at most {MOST_FILES} files")


def read_upload(parts: Iterable[tuple[str, bytes]]) -> Bundle:
    """Of (file name, content): one zip, or loose files under one directory. Raises InvalidRequest."""
    given = list(parts)
    gathered = _Gathered()
    if len(given) == 1 and (given[0][0].lower().endswith(ARCHIVE) or given[0][1].startswith(LOCAL)):
        _read_zip(given[0][1], gathered)
    else:
        for path, data in given:
            gathered.add(path, Content(data))
    return _bundle(gathered.files)


def _bundle(files: Mapping[str, Content]) -> Bundle:
    top = _top(files)
    inner = {path[len(top) + 1 :]: content for path, content in sorted(files.items())}
    for path in inner:
        for above in _above(path):
            if above in inner:
                raise _refused(f"{_shown(above)} is a file and a directory at once")
    if SKILL_FILE not in inner:
        raise _refused(f"{_shown(top)}/{SKILL_FILE} is missing: a skill has it at the root of its directory")
    return Bundle(*_about(inner[SKILL_FILE].data, top), inner)


def _top(files: Mapping[str, Content]) -> str:
    if not files:
        raise _refused("Field required")
    tops = {path.partition("/")[0] if "/" in path else "" for path in files}
    if len(tops) != 1 or "" in tops:
        raise _refused("all files should lie in one top directory, such as my-skill/SKILL.md")
    return tops.pop()


def _above(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _about(skill_file: bytes, directory: str) -> tuple[str, str]:
    """(name, description) by the file's head; without a name there, the directory's counts."""
    try:
        fields = frontmatter(skill_file.decode())
    except UnicodeDecodeError:
        raise _refused(f"{SKILL_FILE} should be UTF-8") from None
    if not fields:
        raise _refused(f"{SKILL_FILE} should begin with a head between lines of ---, with name and description")
    return _name(fields.get("name", "").strip() or directory), _description(fields.get("description", ""))


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise _refused(f"the name in {SKILL_FILE} should be 1 to 64 lower-case letters, digits and hyphens")
    if word := next((word for word in RESERVED if word in name), None):
        raise _refused(f"the name in {SKILL_FILE} should not hold the word {word}")
    return name


def _description(given: str) -> str:
    if _TAG.search(given):
        raise _refused(f"the description in {SKILL_FILE} should hold no XML tags")
    description = plain(given)
    if not description or len(given.strip()) > LONGEST_DESCRIPTION:
        raise _refused(f"the description in {SKILL_FILE} should have 1 to {LONGEST_DESCRIPTION} characters")
    return description


def _check_path(path: str) -> None:
    parts = path.split("/")
    if _FORBIDDEN.search(path):
        raise _refused(f"{_shown(path)} should hold no backslashes and no control characters")
    if any(part in ("", ".", "..") for part in parts):
        raise _refused(f"{_shown(path)} should be a relative path without empty parts, . and ..")
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        raise _refused(f"{_shown(path)} should be valid Unicode") from None
    if len(parts) > DEEPEST or longest > LONGEST_PART:
        raise _refused(f"{_shown(path)} should be at most {DEEPEST} names deep, each of {LONGEST_PART} bytes")


def _read_zip(data: bytes, gathered: _Gathered) -> None:
    if data.count(ENTRY) > MOST_ENTRIES:  # before anything is made of them
        raise _refused(f"a skill should have at most {MOST_FILES} files")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                _read_entry(archive, entry, gathered)
    except UNREADABLE as error:
        raise _refused(f"the zip can't be read: {_shown(str(error))}") from None


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, gathered: _Gathered) -> None:
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if entry.orig_filename != entry.filename:
        raise _refused(f"{_shown(entry.orig_filename)} should hold no backslashes and no control characters")
    if entry.is_dir():
        _check_path(entry.filename.removesuffix("/"))
        return
    if kind not in (0, stat.S_IFREG):
        raise _refused(f"{_shown(entry.filename)} should be a plain file: links and devices are not taken")
    if entry.flag_bits & ENCRYPTED or entry.compress_type not in METHODS:
        raise _refused(f"{_shown(entry.filename)} should be stored or deflated, and not encrypted")
    if gathered.size + entry.file_size > MOST_BYTES:
        raise _too_large()
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)  # bounded: `ZipFile.read` unpacks all before it looks at the size
    gathered.add(entry.filename, Content(data, bool(mode & 0o111)))


def pack(bundle: Bundle) -> bytes:
    """A zip with one directory around all, the same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(bundle.files.items()):
            entry = zipfile.ZipInfo(f"{bundle.name}/{path}", EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | (0o755 if content.executable else 0o644)) << 16
            archive.writestr(entry, content.data)
    return out.getvalue()


def unpack(packed: bytes) -> dict[str, Content]:
    """The files of what `pack` made."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {
            entry.filename.partition("/")[2]: Content(archive.read(entry), bool(entry.external_attr >> 16 & 0o111))
            for entry in archive.infolist()
        }


def _shown(text: str) -> str:
    return repr(text[:100])


def _too_large() -> InvalidRequest:
    return _refused(f"a skill's files should hold at most {MOST_BYTES // 1024**2} MB together, uncompressed")


def _refused(what: str) -> InvalidRequest:
    return InvalidRequest(f"files: {what}")
