"""The skills of the session's agent: a directory each, unpacked from an archive that came as an upload does.

The archives were packed by the server; they are unpacked here as if they were not. Standard library only; used by the
shim.
"""

from __future__ import annotations

import codecs
import os
import shutil
import stat
import zipfile

from outrider.sandbox.uploads import Refused, Uploads

codecs.lookup("cp437")  # of names in archives; a shim may be unable to read the directory that Python lies in
FOLDER = "skills"
MOST_BYTES = 64 * 1024**2
MOST_ENTRIES = 4_000


class Skills(Uploads):
    """Each path is a directory, of one archive's files without the directory that is around them there."""

    folder = FOLDER

    def _is_there(self, path: str, file: str, size: int) -> bool:
        return self._there.get(path) == file and os.path.isdir(self._place(path))

    def _place(self, path: str) -> str:
        if "/" in path:
            raise Refused("no directory of a skill")
        return super()._place(path)

    def _land(self, draft: str, place: str) -> None:
        made = f"{draft}.d"
        _remove(made)
        _unpack(draft, made)
        _remove(place)
        os.rename(made, place)
        os.unlink(draft)

    def _keep(self, there: dict[str, str]) -> None:
        for name in os.listdir(self._folder):
            if name not in there:
                _remove(os.path.join(self._folder, name))


def _remove(place: str) -> None:
    if os.path.isdir(place):
        shutil.rmtree(place)


def _unpack(archive: str, place: str) -> None:
    import zipfile

    os.mkdir(place, 0o755)
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = packed.infolist()
            if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise Refused("this skill is too large")
            for entry in entries:
                _put(packed, entry, place)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError):
        raise Refused("this skill's archive is damaged") from None


def _put(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> None:
    """New files only, so no link can be in the way: the directory was just made, and nobody else writes there."""
    parts = entry.filename.split("/")[1:]
    mode = entry.external_attr >> 16
    if not parts or any(part in ("", ".", "..") or "\0" in part for part in parts) or not stat.S_ISREG(mode):
        raise Refused("no plain file of a skill")
    target = os.path.join(place, *parts)
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    handle = os.open(
        target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if mode & stat.S_IXUSR else 0o644
    )
    with os.fdopen(handle, "wb") as file, packed.open(entry) as content:
        shutil.copyfileobj(content, file)
