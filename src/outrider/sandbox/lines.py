"""Conversations over unix sockets: one JSON line asks, one JSON line answers. Checks who asks."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from outrider.sandbox.reactor import Reactor, Timer

LONGEST = 64 * 1024**2
PAUSE = 0.1

Reply = Callable[[dict[str, Any]], None]


class Gate:
    """Accepts connections on `listener` from the allowed users and hands each request to `ask(request, reply)`."""

    def __init__(
        self,
        reactor: Reactor,
        listener: socket.socket,
        allowed: frozenset[int],
        ask: Callable[[dict[str, Any], Reply], None],
    ) -> None:
        self._reactor = reactor
        self._listener = listener
        self._allowed = allowed
        self._ask = ask
        self._shut: Timer | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._shut = None
        self._reactor.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # such as for want of descriptors: who is there waits
            self._reactor.forget(self._listener.fileno())
            self._shut = self._reactor.after(PAUSE, self._listen)
            return
        if peer_user(connection) not in self._allowed:
            connection.close()
            return
        Conversation(self._reactor, connection, self._ask)

    def close(self) -> None:
        if self._shut is not None:
            self._shut.cancel()
        self._reactor.forget(self._listener.fileno())
        self._listener.close()


def peer_user(connection: socket.socket) -> int:
    """The uid of the process at the other end, as the kernel vouches for it."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("iII", found)[1]


class Conversation:
    """One connection: requests are read as lines, answers written as they come. The peer may leave at any time."""

    def __init__(
        self, reactor: Reactor, connection: socket.socket, ask: Callable[[dict[str, Any], Reply], None]
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._ask = ask
        self._received = bytearray()
        self._unsent = b""
        self._open = True
        connection.setblocking(False)
        reactor.watch(connection.fileno(), self._read)

    def _read(self) -> None:
        try:
            chunk = self._connection.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionError:
            chunk = b""
        self._received += chunk
        if not chunk or len(self._received) > LONGEST:
            self._close()
        elif chunk.endswith(b"\n"):
            self._hand_over(bytes(self._received))

    def _hand_over(self, line: bytes) -> None:
        self._received.clear()
        try:
            request = json.loads(line)
        except ValueError:
            self._close()
            return
        self._ask(request, self.reply)

    def reply(self, answer: dict[str, Any]) -> None:
        if self._open:
            self._unsent += json.dumps(answer).encode() + b"\n"
            self._write()

    def _write(self) -> None:
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._reactor.watch(self._connection.fileno(), self._write, writable=True)
        else:
            self._reactor.watch(self._connection.fileno(), self._read)

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._reactor.forget(self._connection.fileno())
            self._connection.close()


def listen(path: str, owner: int) -> socket.socket:
    """A listening socket at `path` that only `owner` (and root) may connect to; an old one there is replaced."""
    if len(os.fsencode(path)) > 100:
        raise ValueError(f"socket path too long ({len(path)} characters, at most 100): {path}; use a shorter directory")
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    if os.geteuid() == 0 and owner != 0:
        os.chown(path, owner, -1)
    listener.listen(64)
    return listener
