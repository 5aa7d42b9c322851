"""One thread's persistent shell inside the sandbox: runs commands one after another, keeps directory and variables.

Commands are framed by quoting and a status pipe, so that neither bad syntax nor printed text can confuse the framing.
Not promised: that what a command leaves in the background is silent; its output shows up with a later command's.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from outrider.sandbox import enter, launcher, namespaces, process
from outrider.sandbox.journal import Spool
from outrider.sandbox.output import Tail
from outrider.sandbox.reactor import Reactor, Timer

_DRAIN_BYTES = 4 * 1024**2
_STATUS = 3

Done = Callable[[str, bool], None]
"""Called once with a command's text and whether it is an error."""


@dataclass(slots=True)
class Command:
    """A command waiting or running. `text` None asks for a restart."""

    id: str
    text: str | None
    timeout_ms: int
    spool: Spool
    done: Done


def framed(text: str, variables: Mapping[str, str | None] = MappingProxyType({})) -> bytes:
    """The lines that make bash run `text` in its own process, then report the status; first, what it must set (None:
    unset) in its environment."""
    told = "".join(_set(name, value) for name, value in variables.items())
    return f"{told}eval {_quoted(text)} </dev/null {_STATUS}>&-\nbuiltin printf '%d\\n' \"$?\" >&{_STATUS}\n".encode()


def _set(name: str, value: str | None) -> str:
    return f"builtin unset {name}\n" if value is None else f"builtin export {name}={_quoted(value)}\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


class Shell:
    """Commands queue up; each ends by its status, its deadline, an interrupt, or the end of the shell."""

    def __init__(
        self,
        reactor: Reactor,
        spawn: Callable[[list[int], Callable[[], None]], int],
        variables: Callable[[], Mapping[str, str]],
    ) -> None:
        self._reactor = reactor
        self._spawn = spawn
        self._variables = variables
        self._set: Mapping[str, str] = {}
        self._queue: deque[Command] = deque()
        self._current: Command | None = None
        self._timer: Timer | None = None
        self._tail = Tail()
        self._pid = 0
        self._fds: list[int] = []
        self._unsent = b""

    @property
    def busy(self) -> bool:
        return self._current is not None

    def submit(self, command: Command) -> None:
        self._queue.append(command)
        if command.text is None and self._current is not None:
            self._abandon("interrupted: the shell was restarted")
        self._next()

    def interrupt(self, call: str, reason: str) -> bool:
        """End the command with the id `call`; False if it is not here."""
        if self._current is not None and self._current.id == call:
            self._abandon(reason)
            return True
        for waiting in self._queue:
            if waiting.id == call:
                self._queue.remove(waiting)
                waiting.done(reason, True)
                return True
        return False

    def close(self, reason: str) -> None:
        """Kill the shell and end everything that waits on it."""
        waiting, self._queue = self._queue, deque()
        if self._current is not None:
            self._abandon(reason)
        self._kill()
        for command in waiting:
            command.done(reason, True)

    def _next(self) -> None:
        if self._current is not None or not self._queue:
            return
        command = self._current = self._queue.popleft()
        self._tail = Tail()
        if command.text is None:
            self._kill()
        try:
            if not self._pid:
                self._start()
            told = self._changed() if command.text is not None else {}
        except namespaces.Unavailable as problem:
            self._finish(f"bash: {problem}", True)
            return
        except OSError as error:
            self._finish(f"bash: {error.strerror}", True)
            return
        if command.text is None:
            self._finish("bash session restarted", False)
            return
        self._timer = self._reactor.after(command.timeout_ms / 1000, self._expire)
        self._unsent = framed(command.text, told)
        self._feed()

    def _changed(self) -> dict[str, str | None]:
        """What the shell's environment lacks of `variables`, which may have changed since its last command."""
        wanted, before = self._variables(), self._set
        self._set = dict(wanted)
        gone = dict.fromkeys(before.keys() - wanted.keys())
        return {**gone, **{name: value for name, value in wanted.items() if before.get(name) != value}}

    def _start(self) -> None:
        words = ["/bin/bash", "--noprofile", "--norc"]
        environment = {**launcher.ENVIRONMENT, "PS1": "", "PS2": ""}
        self._set = {}
        ours: list[int] = []
        inside: list[int] = []
        try:
            for mine, other in ((1, 0), (0, 1), (0, 1)):  # commands, output, status
                pipe = os.pipe()
                ours.append(pipe[mine])
                inside.append(pipe[other])
            commands, output, status = inside
            pid = self._spawn([commands, output, output, status], lambda: enter.execute(words, environment))
            ours.append(process.held(pid))
        except (OSError, namespaces.Unavailable):
            process.close(ours)
            raise
        finally:
            process.close(inside)
        self._pid, self._fds = pid, ours
        for fd in ours[:3]:
            os.set_blocking(fd, False)
        for fd, action in zip(ours[1:], (self._gather, self._reported, self._ended), strict=True):
            self._reactor.watch(fd, action)

    def _feed(self) -> None:
        to_shell = self._fds[0]
        try:
            self._unsent = self._unsent[os.write(to_shell, self._unsent) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._unsent = b""  # the shell has ended: `_ended` follows
        if self._unsent:
            self._reactor.watch(to_shell, self._feed, writable=True)
        else:
            self._reactor.forget(to_shell)

    def _gather(self) -> None:
        self._collect()

    def _collect(self) -> int:
        try:
            chunk = os.read(self._fds[1], 1 << 16)
        except BlockingIOError:
            return 0
        if not chunk:
            self._reactor.forget(self._fds[1])
        if self._current is not None:  # between commands nobody waits for what the background prints
            self._tail.add(chunk)
            self._current.spool.write(chunk)
        return len(chunk)

    def _drain(self) -> None:
        """Take what the command wrote before it ended, but no more than a bound: others may write on and on."""
        left = _DRAIN_BYTES
        while left > 0 and (taken := self._collect()):
            left -= taken

    def _reported(self) -> None:
        try:
            said = os.read(self._fds[2], 64)
        except BlockingIOError:
            return
        if not said:
            self._reactor.forget(self._fds[2])
            return
        if self._current is None:
            return
        self._drain()
        digits = said.split()[0] if said.split() else b""
        code = int(digits) if digits.isdigit() and len(digits) <= 3 else -1
        self._finish(self._tail.text(), code != 0)

    def _ended(self) -> None:
        """The shell itself is gone: by `exit`, by a signal, or with the whole sandbox."""
        self._drain()
        code = self._reap()
        if self._current is None:
            return
        text = self._tail.text()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            note = f"bash: the shell was killed by {name}; the next command starts a new one"
            self._finish(f"{text}\n{note}".lstrip("\n"), True)
        else:
            self._finish(text, code != 0)

    def _expire(self) -> None:
        assert self._current is not None
        seconds = f"{self._current.timeout_ms / 1000:g}"
        self._abandon(f"bash command timed out after {seconds}s")

    def _abandon(self, reason: str) -> None:
        self._drain()
        self._kill()
        text = self._tail.text()
        self._finish(f"{reason}\n{text}" if text else reason, True)

    def _kill(self) -> None:
        if self._pid:
            # Our own child, not yet reaped, so the number is nobody else's; its group exists a moment later than it.
            for kill in (os.killpg, os.kill):
                try:
                    kill(self._pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.ended(self._fds[3], 5.0)
            self._reap()

    def _reap(self) -> int:
        for fd in self._fds:
            self._reactor.forget(fd)
            os.close(fd)
        self._fds = []
        pid, self._pid = self._pid, 0
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)

    def _finish(self, text: str, is_error: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        command, self._current = self._current, None
        self._unsent = b""
        if command is not None:
            command.spool.close()
            command.done(text, is_error)
        self._next()
