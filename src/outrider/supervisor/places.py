"""The data directory's owners and modes, its lock, and the sockets that outlive the children that serve them."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import time
from pathlib import Path

from outrider.config import Settings
from outrider.errors import Conflict, InvalidRequest
from outrider.supervisor.plan import Users

LONGEST_SOCKET_PATH = 100
ROOM_FOR_NAMES = 48  # the sandboxes' sockets, one a session, lie deeper than the vault's
BIND_SECONDS = 2.0
BACKLOG = 2048
SQLITE = b"SQLite format 3\x00"
OURS = frozenset({"outrider.lock", "outrider.db", "config.toml", "api-key"})


def prepare(settings: Settings, users: Users) -> None:
    """Make the directories. With users apart, the server may add files beside others' but touch none of them."""
    _check_length(settings)
    _check_content(settings.data)
    if {"api", "harness"} & set(settings.roles):
        _check_database(settings.database)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings.run.mkdir(mode=0o700, exist_ok=True)
    settings.vault_data.mkdir(mode=0o700, exist_ok=True)
    if not users.apart:
        return
    _give_tree(settings.vault_data, users.vault)
    if settings.vault.key_file is not None:
        _give(settings.vault.key_file, users.vault)
    for directory in (settings.data, settings.run):
        os.chown(directory, 0, users.server)
        directory.chmod(0o1771)
    for name in (settings.database.name, f"{settings.database.name}-wal", f"{settings.database.name}-shm"):
        _give(settings.data / name, users.server)
    check_way(settings.data, users.server)
    for file in (settings.tls_cert, settings.tls_key):
        if file is not None:
            check_readable(file.absolute(), users.server)


def _check_content(data: Path) -> None:
    """Modes and owners are about to change: not those of a directory that was named by mistake."""
    names = {entry.name for entry in data.iterdir()} if data.exists() else set[str]()
    if names and not names & OURS:
        raise InvalidRequest(f"{data} holds other things ({min(names)}, ...): choose a new or empty data directory.")


def _check_database(file: Path) -> None:
    """A server process that can't open its log would only die again and again."""
    if not file.exists():
        return
    with file.open("rb") as opened:
        start = opened.read(len(SQLITE))
    if start and start != SQLITE:
        raise InvalidRequest(f"{file} is not a database: restore a backup, or choose another data directory.")


def _check_length(settings: Settings) -> None:
    if len(os.fsencode(settings.run)) + ROOM_FOR_NAMES > LONGEST_SOCKET_PATH:
        raise InvalidRequest(
            f"The data directory's path {settings.data} is too long for the unix sockets in it;"
            f" choose one of at most {LONGEST_SOCKET_PATH - ROOM_FOR_NAMES - len('/run')} bytes."
        )


def _give_tree(directory: Path, uid: int) -> None:
    """The directory and the files in it; a link in it stays a link."""
    for path in (directory, *directory.iterdir()):
        _give(path, uid)


def _give(path: Path, uid: int) -> None:
    try:
        os.chown(path, uid, uid, follow_symlinks=False)
    except FileNotFoundError:
        return


def check_way(path: Path, uid: int) -> None:
    """Raise InvalidRequest, naming the obstacle, when a directory on the way to `path` is closed to user `uid`."""
    for directory in path.parents:
        status = directory.stat()
        if not may_enter(status, uid):
            raise InvalidRequest(
                f"The server's user ({uid}) can't enter {directory} (mode {stat.filemode(status.st_mode)}), which is"
                f" on the way to {path}: choose a place elsewhere, such as /var/lib/outrider."
            )


def check_readable(file: Path, uid: int) -> None:
    """Raise InvalidRequest when user `uid` can't read a file that the server needs."""
    check_way(file, uid)
    status = file.stat()
    bits = stat.S_IRUSR if status.st_uid == uid else stat.S_IRGRP if status.st_gid == uid else stat.S_IROTH
    if not status.st_mode & bits:
        raise InvalidRequest(f"The server's user ({uid}) can't read {file}: make {uid} its owner or its group.")


def may_enter(status: os.stat_result, uid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == uid else stat.S_IXOTH))


def lock(data: Path) -> int:
    """The one server on this data, for as long as the descriptor is open. Raises Conflict, naming the other's pid."""
    fd = os.open(data / "outrider.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = os.read(fd, 32).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise Conflict(f"Another server (process {other}) already runs on {data}.") from None
    os.truncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    os.set_inheritable(fd, True)
    return fd


def listen_tcp(host: str, port: int) -> socket.socket:
    """The server's socket. Waits a moment for the port, which a killed server's children may still hold."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + BIND_SECONDS
    while True:
        try:
            listener.bind((host, port))
            break
        except OSError as error:
            if time.monotonic() > deadline:
                listener.close()
                raise InvalidRequest(f"Can't listen on {host} port {port}: {error.strerror or error}.") from error
            time.sleep(0.05)
    listener.listen(BACKLOG)
    return listener


def listen_unix(path: Path, owner: int) -> socket.socket:
    """A socket file that only `owner` (and root) can connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    if owner != os.geteuid():
        os.chown(path, owner, owner, follow_symlinks=False)
    listener.listen(BACKLOG)
    return listener


def publish(path: Path, facts: dict[str, object]) -> None:
    """Write facts for other commands to read, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(fd, "w") as file:
        json.dump(facts, file)
    draft.chmod(0o644)
    draft.rename(path)
