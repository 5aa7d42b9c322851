"""The supervisor's life: starts the children, starts them again when they die, ends them in order.

One thread and no event loop: it sleeps in `poll` on its children's pidfds and on its signals. Exit codes: 0 ended in
order when told to, 2 refused to start, 3 a child could never be kept alive, 4 a child had to be killed at the end.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

from outrider import faults
from outrider.supervisor import linux, places, roles
from outrider.supervisor.children import STOPS_BY
from outrider.supervisor.log import say
from outrider.supervisor.plan import Plan
from outrider.supervisor.roles import Role

ENDED, UNSTARTABLE, KILLED = 0, 3, 4
OPEN_FILES = 65536
SAME_STOP = 1.0
SHORT_LIFE = 1.0
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
SHORT_LIVES_AT_START = 6
PUBLISH_AGAIN = 1.0
REFUSED = 2  # a child's exit code: what it was given is wrong, and will be wrong again
HEAVY = (
    "anthropic",
    "anthropic.types.beta",
    "anyio._backends._asyncio",
    "encodings.idna",
    "httpcore2",
    "httptools",
    "httpx2",
    "msgspec",
    "prometheus_client",
    "pydantic",
    "sqlite3",
    "starlette.applications",
    "starlette.responses",
    "starlette.routing",
    "uvicorn",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)
"""Third-party modules that take long to import, or that are imported late, when a child's user can't reach them."""
LIGHT = tuple(name for name in HEAVY if name.split(".")[0] not in ("anthropic", "pydantic", "sqlite3"))
"""Of these, what a server without API and harness needs."""
FOR_TRACES = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk.trace.export")


@dataclass(slots=True)
class Child:
    """A role and the process that plays it, if one does (`pidfd` >= 0). `due`: when the next may start."""

    role: Role
    pid: int = 0
    pidfd: int = -1
    born: float = 0.0
    due: float = 0.0
    short_lives: int = 0
    lived: bool = False
    deaths: int = 0

    def ended(self, now: float) -> None:
        """Note a death: after a life of some length the next begins at once, after short ones later and later."""
        self.deaths += 1
        if now - self.born >= SHORT_LIFE:
            self.lived, self.short_lives, self.due = True, 0, now
        else:
            self.due = now + min(FIRST_PAUSE * 2**self.short_lives, LONGEST_PAUSE) if self.short_lives else now
            self.short_lives += 1

    def hopeless(self) -> bool:
        return not self.lived and self.short_lives >= SHORT_LIVES_AT_START


class Tree:
    def __init__(self, plan: Plan, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._monotonic = monotonic
        self._poll = select.poll()
        self._stop = 0
        self._stopped_at = 0.0
        self._hurry = False
        self._children: list[Child] = []
        self._url = ""
        self._metrics_url: str | None = None
        self._wakeup = -1
        self._ending = False
        self._publish_due: float | None = None
        self._unpublished = False

    def run(self) -> int:
        """Serve until told to stop; the exit code."""
        linux.hide()
        faults.connect_from_environment()
        linux.name_process("outrider")
        linux.allow_open_files(OPEN_FILES)
        os.umask(0o077)
        self._heed_signals()
        cast = roles.cast(self._plan)
        self._url, self._metrics_url = cast.url, cast.metrics_url
        self._children = [Child(role) for role in cast.roles]
        if self._children[0].role.name == "zygote":
            self._start(self._children[0])  # its interpreter starts while this one imports
        settings = self._plan.settings
        _import_heavy(settings.roles, FOR_TRACES if settings.otlp_endpoint else ())
        users = "apart" if self._plan.users.apart else "one"
        say("listening", url=self._url, data=self._plan.settings.data, users=users, metrics=self._metrics_url)
        code = self._watch()
        ended = self._end()
        return code or ended

    def _heed_signals(self) -> None:
        self._wakeup, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        self._poll.register(self._wakeup, select.POLLIN)
        for number in STOPS_BY:
            signal.signal(number, lambda number, _: self._heed(number))

    def _heed(self, number: int) -> None:
        """The first signal ends the tree in order, one some time after it at once. (One Ctrl-C can arrive twice: from
        the terminal, and from a parent that passes it on.)"""
        now = self._monotonic()
        if self._stop == 0:
            self._stop, self._stopped_at = number, now
        elif now - self._stopped_at > SAME_STOP:
            self._hurry = True

    def _watch(self) -> int:
        """Until told to stop, or until it is clear that a child can't live."""
        while not self._stop:
            self._start_due()
            self._wait(self._next_due())
            hopeless = [child.role.name for child in self._children if child.hopeless()]
            if hopeless:
                say("gave-up", role=hopeless[0], deaths=SHORT_LIVES_AT_START)
                return UNSTARTABLE
        return ENDED

    def _start_due(self) -> None:
        now = self._monotonic()
        waiting = [child for child in self._children if child.pidfd < 0 and child.due <= now]
        for child in waiting:
            self._start(child)
        if waiting or (self._publish_due is not None and self._publish_due <= now):
            self._publish()

    def _start(self, child: Child) -> None:
        """One that can't be started, for want of processes or descriptors, has had a short life."""
        child.born = self._monotonic()
        try:
            faults.point("supervisor.fork.before")
            child.pid = child.role.begin()
            faults.point("supervisor.fork.after")
            child.pidfd = _watched(child.pid)
        except OSError as error:
            child.ended(self._monotonic())
            say("not-started", role=child.role.name, reason=error, again_in=self._pause(child))
            return
        self._poll.register(child.pidfd, select.POLLIN)
        say("started", role=child.role.name, pid=child.pid)

    def _next_due(self) -> float | None:
        dues = [child.due for child in self._children if child.pidfd < 0]
        dues += [] if self._publish_due is None else [self._publish_due]
        return max(0.0, min(dues) - self._monotonic()) if dues else None

    def _pause(self, child: Child) -> str:
        return f"{max(0.0, child.due - self._monotonic()):.2f}s"

    def _wait(self, seconds: float | None) -> None:
        ready = {fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000 + 1)}
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        for child in self._children:
            if child.pidfd in ready:
                self._bury(child)

    def _bury(self, child: Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        child.pidfd = -1
        child.ended(self._monotonic())
        code = os.waitstatus_to_exitcode(status)
        if code == REFUSED:
            child.lived, child.short_lives = False, SHORT_LIVES_AT_START
        cause = {"signal": -code} if code < 0 else {"code": code}
        pause = None if self._ending or self._stop else self._pause(child)
        say("died", role=child.role.name, pid=child.pid, **cause, again_in=pause)

    def _publish(self) -> None:
        """A disk that is full, say, ends nothing: others hear later where we are. It is said once, and when it is over:
        the log may be on that disk."""
        alive: dict[str, object] = {child.role.name: child.pid for child in self._children if child.pidfd >= 0}
        facts: dict[str, object] = {"url": self._url, "supervisor": os.getpid(), "children": alive}
        facts["restarts"] = {child.role.name: child.deaths for child in self._children}
        if self._metrics_url is not None:
            facts["metrics"] = self._metrics_url
        self._publish_due = None
        try:
            places.publish(self._plan.settings.data / "server.json", facts)
        except OSError as error:
            self._publish_due = self._monotonic() + PUBLISH_AGAIN
            if not self._unpublished:
                say("unpublished", reason=error, again_each=f"{PUBLISH_AGAIN:.2f}s")
            self._unpublished = True
            return
        if self._unpublished:
            say("published")
        self._unpublished = False

    def _end(self) -> int:
        """Each child is told to end and waited for, last started first; a second signal kills."""
        self._ending = True
        say("ending", signal=self._stop or None)
        killed = False
        for child in reversed(self._children):
            killed |= self._end_child(child)
        with suppress(OSError):  # such as of a disk that can't be written to any more
            (self._plan.settings.data / "server.json").unlink()
        for number in STOPS_BY:
            signal.signal(number, signal.SIG_IGN)  # from here on a signal would only spoil the exit code
        say("ended")
        return KILLED if killed else ENDED

    def _end_child(self, child: Child) -> bool:
        """Whether it had to be killed."""
        deadline = self._monotonic() + child.role.patience
        asked = False
        while child.pidfd >= 0:
            left = deadline - self._monotonic()
            if left <= 0 or self._hurry:
                signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
                self._wait_for(child)
                return True
            if not asked:
                signal.pidfd_send_signal(child.pidfd, signal.SIGTERM)
                asked = True
            self._wait(left)
        return False

    def _wait_for(self, child: Child) -> None:
        while child.pidfd >= 0:
            self._wait(None)


def _watched(pid: int) -> int:
    """The pidfd of a new child; without one it would be nobody's, and ends. Raises OSError. As `sandbox.process.held`,
    which is not loaded here: every child would have the sandbox's code."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _import_heavy(played: Collection[str], more: Collection[str]) -> None:
    """What takes long is done once, before the forks: it would delay each recovery. Nothing of a single role's."""
    serves = bool({"api", "harness"} & set(played))
    gc.disable()  # what an import makes stays: looking through it again and again takes a fifth of the time
    for name in (*HEAVY, *more) if serves else LIGHT:
        import_module(name)
    if serves:
        from outrider.wire.requests import compile_all

        compile_all()
    gc.enable()
    gc.freeze()  # keeps the children's pages shared: the collector won't touch what they inherit
