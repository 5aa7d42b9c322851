"""The only way out of a sandbox, from the shim's side: a listener in the sandbox's network namespace, handed to the
egress proxy over a unix socket. Standard library only; used in the single-threaded shim.

The proxy answers with what the sandbox has to be told (see `Told`), now and whenever that changes. Promised: a proxy
that was started again gets the same listener again, so that connections wait instead of failing.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any, TypedDict

from outrider.sandbox import linux, process
from outrider.sandbox.namespaces import Box
from outrider.sandbox.reactor import Reactor, Timer

PORT = 3128
BACKLOG = 256
FIRST_WORD = 5.0  # seconds that a first command waits for a proxy that is being started again
CONNECT_SECONDS = 2.0
PAUSE = 0.2
LONGEST = 4 * 1024**2
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PROXY = f"http://127.0.0.1:{PORT}"
_NOT_BY_PROXY = "localhost,127.0.0.1,::1"

ENVIRONMENT = {
    name: value
    for lower, value in (
        ("http_proxy", _PROXY),
        ("https_proxy", _PROXY),
        ("all_proxy", _PROXY),
        ("no_proxy", _NOT_BY_PROXY),
    )
    for name in (lower, lower.upper())
}


class Told(TypedDict):
    """What the proxy says: variables for the commands, and the certificates they should trust (PEM), if any."""

    environment: dict[str, str]
    trust: str


class Way:
    """One sandbox's way out. `proxy` is the path of the proxy's socket; None: there is none."""

    def __init__(self, reactor: Reactor, proxy: str | None, session: str, changed: Callable[[Told], None]) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._session = session
        self._changed = changed
        self._coming: tuple[int, socket.socket] | None = None
        self._listener: socket.socket | None = None
        self._link: socket.socket | None = None
        self._retry: Timer | None = None
        self._late: Timer | None = None
        self._received = b""
        self._told = False
        self._taken_up = False
        self._problem: tuple[int, str] | None = None

    def open(self, box: Box) -> None:
        """Begin: the listener is made meanwhile, see `settle`."""
        if self._proxy is not None:
            self._coming = _make_listener(box)

    def settle(self) -> None:
        """Wait until the listener is in place and the proxy has spoken, which is bounded. Call before a command. Raises
        OSError if nothing of what it said could be taken up yet."""
        if self._coming is not None:
            child, pipe = self._coming
            self._coming = None
            self._listener = _collected(child, pipe)
            self._connect()
            deadline = time.monotonic() + FIRST_WORD
            while not self._told and (left := deadline - time.monotonic()) > 0:
                if self._link is None:
                    self._connect()
                    time.sleep(min(PAUSE / 10, left))
                elif process.readable(self._link.fileno(), left):
                    self._hear()
        if self._problem is not None and not self._taken_up:
            raise OSError(*self._problem)

    def close(self) -> None:
        if self._coming is not None:
            child, pipe = self._coming
            self._coming = None
            self._listener = _collected(child, pipe)
        for timer in (self._retry, self._late):
            if timer is not None:
                timer.cancel()
        self._hang_up()
        if self._listener is not None:
            self._listener.close()
        self._listener, self._retry, self._late = None, None, None

    def _connect(self) -> None:
        """Hand the listener over; when nobody is there, again a little later."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is None or self._proxy is None:
            return
        try:
            link = _handed_over(self._listener, self._proxy, self._session)
        except OSError:
            self._again()
            return
        self._link, self._received = link, b""
        self._reactor.watch(link.fileno(), self._hear)

    def _again(self) -> None:
        if self._retry is None:
            self._retry = self._reactor.after(PAUSE, self._connect)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._reactor.forget(self._link.fileno())
            self._link.close()
            self._link = None

    def _hear(self) -> None:
        assert self._link is not None
        try:
            chunk = self._link.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionError:
            chunk = b""
        self._received += chunk
        if not chunk or len(self._received) > LONGEST:
            self._hang_up()
            self._again()
            return
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            told: Any = json.loads(line)
            self._told = True
            self._pass_on({"environment": told["environment"], "trust": told["trust"]})

    def _pass_on(self, told: Told) -> None:
        """What can't be taken up now (the disk is full, say) is a little later; what is newer replaces it."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        try:
            self._changed(told)
            self._taken_up = True
        except OSError as problem:
            self._problem = problem.errno or 0, problem.strerror or str(problem)
            self._late = self._reactor.after(PAUSE, lambda: self._pass_on(told))


def _handed_over(listener: socket.socket, proxy: str, session: str) -> socket.socket:
    """The connection on which the proxy took it. Raises OSError."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(CONNECT_SECONDS)
        link.connect(proxy)
        asked = json.dumps({"session": session}).encode() + b"\n"
        socket.send_fds(link, [asked], [listener.fileno()])
        link.setblocking(False)
    except OSError:
        link.close()
        raise
    return link


def machines_authorities() -> dict[str, str]:
    """For Node, which brings a list of its own: the machine's authorities count in its sandboxes too."""
    found = next((path for path in SYSTEM_BUNDLES[:2] if os.path.exists(path)), None)  # these are visible inside
    return {} if found is None else {"NODE_EXTRA_CA_CERTS": found}


def write_trust(directory: str, certificates: str) -> None:
    """The bundle that the commands' variables name: this machine's authorities, and these."""
    found = next((path for path in SYSTEM_BUNDLES if os.path.exists(path)), None)
    draft = os.path.join(directory, "ca.new")
    with open(draft, "wb") as file:
        if found is not None:
            with open(found, "rb") as system:
                file.write(system.read().rstrip() + b"\n")
        file.write(certificates.encode())
    os.chmod(draft, 0o644)
    os.rename(draft, os.path.join(directory, "ca.pem"))


def _make_listener(box: Box) -> tuple[int, socket.socket]:
    """A child that enters the namespace, listens there and passes the socket back; it and the way to it."""
    mine, childs = socket.socketpair()
    shim = os.getpid()
    try:
        child = os.fork()
    except OSError:
        mine.close()
        childs.close()
        raise
    if child == 0:
        _listen_inside(box, childs, shim)
    childs.close()
    return child, mine


def _listen_inside(box: Box, way: socket.socket, shim: int) -> None:
    try:
        linux.die_with_parent(shim)
        net = next(fd for fd, kind in box.kinds if kind == linux.CLONE_NEWNET)
        process.lay_out([way.fileno(), box.owner, net])
        linux.close_from(3)
        linux.setns(1, linux.CLONE_NEWUSER)
        linux.setns(2, linux.CLONE_NEWNET)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", PORT))
        listener.listen(BACKLOG)
        socket.send_fds(socket.socket(fileno=0), [b"."], [listener.fileno()])
    finally:
        os._exit(0)


def _collected(child: int, pipe: socket.socket) -> socket.socket | None:
    try:
        pipe.settimeout(FIRST_WORD)
        _, fds, _, _ = socket.recv_fds(pipe, 1, 1)
    except OSError:
        fds = list[int]()
    finally:
        pipe.close()
        os.kill(child, 9)  # our own child, not yet reaped
        os.waitpid(child, 0)
    return socket.socket(fileno=fds[0]) if fds else None
