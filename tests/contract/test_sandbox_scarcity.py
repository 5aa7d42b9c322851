"""What shims, zygotes and drivers do while there are no more descriptors, or while a disk takes nothing."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import threading
from collections.abc import Coroutine, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from outrider.sandbox import egress, etc, launcher, lines, namespaces, shim
from outrider.sandbox.reactor import Reactor
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_suite import Hands, text

SIZES: launcher.Sizes = {"tmp": 1 << 20, "shm": 1 << 20, "run": 1 << 20}
RULES = namespaces.Rules(processes=64, open_files=256, file_bytes=1 << 30, data_bytes=1 << 30)
BOUND = 10.0


@contextmanager
def descriptors_left(count: int) -> Generator[None]:
    """No more than these can be opened in this process."""
    probes = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    for fd in probes:
        os.close(fd)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(probes, default=0) + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def run(reactor: Reactor) -> None:
    """Until something sets `running` to false, which must happen in time."""

    def late() -> None:
        raise TimeoutError

    reactor.running = True
    bound = reactor.after(BOUND, late)
    reactor.run()
    bound.cancel()


def end(reactor: Reactor) -> None:
    reactor.running = False


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name in shim.DIRECTORIES:
        (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
    return tmp_path / "own"


def launched(own: Path) -> namespaces.Launch:
    bwrap, problem = launcher.find()
    assert bwrap is not None, problem
    place, held = etc.made(str(own.parent))
    os.close(held)
    return namespaces.launch(bwrap, place, str(own), SIZES, RULES)


def test_who_asks_while_there_are_no_descriptors_is_answered_when_there_are(tmp_path: Path) -> None:
    reactor = Reactor()
    asked: list[object] = []

    def ask(request: dict[str, object], reply: lines.Reply) -> None:
        asked.append(request)
        end(reactor)

    gate = lines.Gate(
        reactor,
        lines.listen(str(tmp_path / "socket"), os.getuid()),
        frozenset({os.getuid()}),
        ask,
    )
    with socket.socket(socket.AF_UNIX) as client, ExitStack() as scarce:
        client.connect(str(tmp_path / "socket"))
        client.sendall(b'{"op": "status"}\n')
        scarce.enter_context(descriptors_left(0))
        reactor.after(lines.PAUSE / 2, scarce.close)
        run(reactor)
    reactor.after(0, lambda: end(reactor))
    run(reactor)  # it notices that the other end has gone
    gate.close()
    assert asked == [{"op": "status"}]


def test_a_gate_closes_while_it_waits_for_descriptors(tmp_path: Path) -> None:
    reactor = Reactor()
    gate = lines.Gate(
        reactor, lines.listen(str(tmp_path / "socket"), os.getuid()), frozenset(), lambda request, reply: None
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "socket"))
        with descriptors_left(0):
            reactor.after(lines.PAUSE / 2, gate.close)
            reactor.after(lines.PAUSE * 2, lambda: end(reactor))
            run(reactor)


def serve_once(proxy: socket.socket) -> socket.socket:
    """Be the egress proxy, to which a listener is handed over; the connection."""
    link, _ = proxy.accept()
    link.sendall(b'{"environment": {}, "trust": "ours"}\n')
    return link


def serve_twice(proxy: socket.socket, restarts: threading.Event) -> None:
    with serve_once(proxy):
        restarts.wait(BOUND)
    with serve_once(proxy) as link:
        while link.recv(1 << 16):
            pass


def test_a_way_out_outlives_a_full_disk_and_a_proxy_that_restarts_without_descriptors(own: Path) -> None:
    reactor, restarts = Reactor(), threading.Event()
    proxy = lines.listen(str(own.parent / "proxy"), os.getuid())
    proxy.settimeout(BOUND)
    trust = own / "trust"

    def hear(told: egress.Told) -> None:
        egress.write_trust(str(trust), told["trust"])
        end(reactor)

    serving = threading.Thread(target=serve_twice, args=(proxy, restarts))
    serving.start()
    box = launched(own).ready()
    trust.rmdir()  # so that writing there fails, for root, too
    way = egress.Way(reactor, str(own.parent / "proxy"), "sesn_a", hear)
    try:
        way.open(box)
        for _ in range(2):  # no command begins without what it needs
            with pytest.raises(FileNotFoundError):
                way.settle()
        reactor.after(egress.PAUSE / 2, trust.mkdir)
        run(reactor)
        way.settle()
        assert (trust / "ca.pem").read_text().endswith("ours")
        with ExitStack() as scarce:
            scarce.enter_context(descriptors_left(0))
            restarts.set()
            reactor.after(1.5 * egress.PAUSE, scarce.close)
            run(reactor)  # until it is told anew
    finally:
        restarts.set()
        way.close()
        box.end()
        serving.join(BOUND)
        proxy.close()


def open_now() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("left", [3, 8])
def test_a_start_that_runs_out_of_descriptors_leaves_none_open(own: Path, left: int) -> None:
    """At process 1's pidfd they are enough; among those of its namespaces they are not."""
    before = open_now()
    starting = launched(own)
    with descriptors_left(left), pytest.raises(namespaces.Unavailable, match="Too many open files"):
        starting.ready()
    assert open_now() <= before


def test_a_sandbox_that_can_not_be_held_back_leaves_no_descriptor_open(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(pid: int, kind: int, limits: tuple[int, int] | None = None) -> tuple[int, int]:
        raise ProcessLookupError(errno.ESRCH, "No such process")

    before = open_now()
    starting = launched(own)
    with monkeypatch.context() as patched:
        patched.setattr(resource, "prlimit", gone)
        with pytest.raises(namespaces.Unavailable, match="No such process"):
            starting.ready()
    assert open_now() <= before


async def asked_too_early(asking: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """It waits for as long as there are no descriptors."""
    with descriptors_left(0):
        asked = asyncio.create_task(asking)
        done, _ = await asyncio.wait({asked}, timeout=0.1)
    assert not done
    return asked


@pytest.mark.anyio
async def test_without_descriptors_nothing_counts_as_ended_that_goes_on(anyio_backend: str) -> None:
    host = SandboxHost()
    host.start()
    try:
        driver = host.driver(replace(host.limits, sandbox_idle=0.0))
        hands, beside = Hands(driver, "sesn_a"), Hands(driver, "sesn_a", "other")
        waits = asyncio.create_task(hands.outcome("bash", {"command": "touch begun; sleep 60"}, id="sevt_waits"))
        await beside.bash("while [ ! -e begun ]; do sleep 0.01; done")
        await (await asked_too_early(driver.interrupt("sesn_a", "sevt_waits", epoch=1)))
        assert shim.INTERRUPTED in text(await waits, is_error=True)
        with descriptors_left(0):
            assert driver.live == 1
        stopping = await asked_too_early(driver.stop("sesn_a"))
        assert driver.live == 1
        await stopping
        assert driver.live == 0
    finally:
        await host.close()
