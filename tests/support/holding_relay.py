"""A TCP relay that carries the first connection at once and holds each further one until it is told to let them go."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

SECONDS = 30.0


class HoldingRelay:
    """`held` is set while a connection waits for `release`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.held, self.release = threading.Event(), threading.Event()

    @contextmanager
    def open(self) -> Generator[HoldingRelay]:
        self._start(self._accept)
        try:
            yield self
        finally:
            self.release.set()
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in list(self._threads):
                thread.join(SECONDS)
            for one in self._open:
                one.close()

    def _start(self, target: Callable[..., None], *given: socket.socket) -> None:
        thread = threading.Thread(target=target, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        first = True
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                if not first:
                    self.held.set()
                    self.release.wait(SECONDS)
                first = False
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open.append(far)
                self._start(_carry, near, far)
                self._start(_carry, far, near)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
