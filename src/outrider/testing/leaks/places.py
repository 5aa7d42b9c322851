"""Where canaries are looked for on a host: files, and what `/proc` shows of a process, its memory too."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from outrider.testing.leaks.disguises import holds

CHUNK = 1 << 22
LARGEST_WHOLE = 64 * 1024 * 1024
_REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r\S+ \S+ \S+ \S+\s*(\[v.*\])?")


@dataclass
class Sight:
    """What a search saw: `hits` name places, `blind` what it could not look at and why, `looked` counts."""

    looked: int = 0
    hits: list[str] = field(default_factory=list[str])
    blind: list[str] = field(default_factory=list[str])


def in_memory(pid: int, wanted: Collection[bytes]) -> set[bytes]:
    """Which of `wanted` are in the process's readable memory. Raises PermissionError where we may not look."""
    found: set[bytes] = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for low, high in _readable(pid):
            found |= _in_region(memory.fileno(), low, high, wanted)
    return found


def _readable(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _REGION.match(line)
        if match and not match[3]:
            yield int(match[1], 16), int(match[2], 16)


def _in_region(fd: int, low: int, high: int, wanted: Collection[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    overlap = max(len(one) for one in wanted)
    for start in range(low, high, CHUNK):
        try:
            data = os.pread(fd, min(CHUNK + overlap, high - start), start)
        except OSError:
            continue  # a hole, or a mapping beyond its file's end
        found |= {one for one in wanted if one in data}
    return found


def in_open_files(pid: int, wanted: Collection[bytes]) -> set[str]:
    """Open files (by name) of the process that hold one of `wanted`. Raises PermissionError."""
    found: set[str] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(entry)
            if entry.is_file() and any(one in entry.read_bytes() for one in wanted):
                found.add(name)
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def processes(pids: dict[str, int], wanted: Collection[bytes]) -> Sight:
    """Environment, arguments and memory of each, by name."""
    sight = Sight()
    for name, pid in pids.items():
        for what in ("environ", "cmdline", "memory"):
            try:
                _look(sight, f"{what} of {name} ({pid})", _process_holds(pid, what, wanted))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            except PermissionError as error:
                sight.blind.append(f"{what} of {name} ({pid}): {error.strerror}")
    return sight


def _process_holds(pid: int, what: str, wanted: Collection[bytes]) -> bool:
    if what == "memory":
        return bool(in_memory(pid, wanted))
    return holds(Path(f"/proc/{pid}/{what}").read_bytes(), wanted)


def _look(sight: Sight, what: str, found: bool) -> None:
    sight.looked += 1
    if found:
        sight.hits.append(what)


def files(roots: Collection[Path], wanted: Collection[bytes], *, largest: int = 1 << 30) -> Sight:
    """Every regular file in and below the roots; links are not followed. Bigger ones than `largest` are not read. What
    goes while the search runs, directories too, is passed over."""
    sight = Sight()
    for root in roots:
        for path in _walked(root, sight):
            try:
                about = path.lstat()
                if not stat.S_ISREG(about.st_mode):
                    continue
                if about.st_size > largest:
                    sight.blind.append(f"{path}: {about.st_size >> 20} MB")
                    continue
                _look(sight, str(path), _file_holds(path, about.st_size, wanted))
            except FileNotFoundError:
                continue
            except OSError as error:
                sight.blind.append(f"{path}: {error.strerror}")
    return sight


def _walked(root: Path, sight: Sight) -> Iterator[Path]:
    if not root.is_dir():
        yield root
        return

    def blind(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            sight.blind.append(f"{error.filename}: {error.strerror}")

    for place, _, names in os.walk(root, onerror=blind):
        yield from (Path(place, name) for name in names)


def _file_holds(path: Path, size: int, wanted: Collection[bytes]) -> bool:
    with path.open("rb") as file:
        if size <= LARGEST_WHOLE:
            return holds(file.read(), wanted)
        overlap, kept = max(len(one) for one in wanted), b""
        while data := file.read(CHUNK):
            if any(one in kept + data for one in wanted):
                return True
            kept = data[-overlap:]
    return False


def sandbox_processes(data: Path) -> dict[str, int]:
    """The shims of this data directory's sandboxes and what runs in them, as far as we may see them."""
    found: dict[str, int] = {}
    for log in Path("/proc").glob("[0-9]*/fd/2"):
        try:
            target = os.readlink(log)
        except OSError:
            continue
        if target.startswith(f"{data}/sandboxes/"):
            found[f"sandbox process {log.parts[2]}"] = int(log.parts[2])
    return found
