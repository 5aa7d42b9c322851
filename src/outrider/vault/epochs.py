"""The highest epoch of each session, across restarts of the vault: an owner that was fenced stays fenced.

A new epoch is with the system before it is answered to, at the price of one short write and no wait for a disk: the
vault's own death forgets none. A crash of the whole machine may, together with most of the owners that it would stop.
"""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from pathlib import Path

from outrider import faults
from outrider.errors import InvalidRequest

FILE = "epochs"
SESSIONS_REMEMBERED = 50_000
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger("outrider.vault")


class Epochs:
    """Of the sessions that were in use last. Without a directory nothing is kept. One process at a time."""

    def __init__(self, directory: Path | None = None, remembered: int = SESSIONS_REMEMBERED) -> None:
        self._highest: OrderedDict[str, int] = OrderedDict()
        self._remembered = remembered
        self._path = None if directory is None else directory / FILE
        self._fd = -1
        self._lines = 0
        if self._path is not None:
            self._read(self._path)
            self._rewrite(self._path)

    def see(self, session: str, epoch: int) -> bool:
        """Note an epoch; False when a higher one was seen. Raises InvalidRequest for what is no session's id."""
        highest = self._highest.get(session, -1)
        if epoch < highest:
            return False
        if epoch > highest:
            if not SESSION.fullmatch(session):
                raise InvalidRequest("Not the id of a session.")
            self._write(session, epoch)
        self._hold(session, epoch)
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _hold(self, session: str, epoch: int) -> None:
        self._highest[session] = epoch
        self._highest.move_to_end(session)
        if len(self._highest) > self._remembered:
            self._highest.popitem(last=False)

    def _read(self, path: Path) -> None:
        """A line that a crash cut short counts as not written."""
        for line in path.read_text("ascii", errors="replace").splitlines() if path.exists() else ():
            session, _, epoch = line.partition(" ")
            if epoch.isdecimal() and int(epoch) >= self._highest.get(session, -1):
                self._hold(session, int(epoch))

    def _write(self, session: str, epoch: int) -> None:
        """A full disk stops no session: then this process alone remembers."""
        if self._path is None:
            return
        faults.point("vault.epoch.before")
        try:
            os.write(self._fd, _line(session, epoch))
            self._lines += 1
            if self._lines > 2 * self._remembered:
                self._rewrite(self._path)
        except OSError as error:
            log.warning("the epoch of session %s could not be noted: %s", session, error.strerror)
        faults.point("vault.epoch.after")

    def _rewrite(self, path: Path) -> None:
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        whole = b"".join(_line(*known) for known in self._highest.items())
        while whole:
            whole = whole[os.write(fd, whole) :]
        draft.rename(path)
        self.close()
        self._fd, self._lines = fd, len(self._highest)


def _line(session: str, epoch: int) -> bytes:
    return f"{session} {epoch}\n".encode("ascii")
