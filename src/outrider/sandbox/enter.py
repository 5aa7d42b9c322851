"""Running something inside a living sandbox: a fork enters its namespaces, locks itself down, and only then makes the
process that others inside can see. Standard library only; used in the single-threaded shim."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from outrider.sandbox import launcher, linux, process, seccomp
from outrider.sandbox.namespaces import Box, Rules, Unavailable, limits

ENTER_DEADLINE = 10.0


def spawn(
    box: Box, rules: Rules, fds: Sequence[int], body: Callable[[], None], *, cpu_seconds: int | None = None
) -> int:
    """Run `body` inside, locked down, with `fds` as 0, 1, 2 ... and nothing else open; its number on this host.

    The new process is this process's own child. Raises Unavailable when it can't enter.
    """
    shim = os.getpid()
    rules = replace(rules, cpu_seconds=cpu_seconds)
    try:
        report, report_writer = os.pipe()
        between = process.forked((report, report_writer))
    except OSError as error:
        raise Unavailable(f"could not enter the sandbox: {error.strerror}") from error
    if between == 0:
        _go_inside(box, rules, [*fds, report_writer], shim, body)
    os.close(report_writer)
    try:
        return _reported(report, between)
    finally:
        os.close(report)


def _reported(report: int, between: int) -> int:
    said = b""
    deadline = time.monotonic() + ENTER_DEADLINE
    while process.readable(report, deadline - time.monotonic()):
        chunk = os.read(report, 4096)
        if not chunk:
            break
        said += chunk
    else:
        os.kill(between, signal.SIGKILL)  # our child, not yet reaped: the number can't belong to another
    os.waitpid(between, 0)
    if not said.isdigit():
        raise Unavailable(f"could not enter the sandbox: {said.decode(errors='replace') or 'no answer'}")
    return int(said)


def _go_inside(box: Box, rules: Rules, fds: list[int], shim: int, body: Callable[[], None]) -> None:
    """The process between: enters everything, locks itself down, then forks the one that others inside can see."""
    report = len(fds) - 1
    try:
        linux.die_with_parent(shim)
        spaces = [box.owner, *(fd for fd, _ in box.kinds), box.user]
        process.lay_out([*fds, *spaces])
        linux.close_from(len(fds) + len(spaces))
        process.join(rules.cgroups)
        _enter(len(fds), [kind for _, kind in box.kinds], box.root)
        linux.close_from(len(fds))
        _lock_down(rules)
        child = linux.fork_for_parent()
        if child == 0:
            _be_inside(report, rules, body)
        os.write(report, str(child).encode())
    except OSError as error:
        os.write(report, str(error).encode())
    finally:
        os._exit(0)


def _enter(first: int, kinds: list[int], root: tuple[int, int]) -> None:
    linux.setns(first, linux.CLONE_NEWUSER)
    for offset, kind in enumerate(kinds, 1):
        linux.setns(first + offset, kind)
    found = os.stat("/")
    if (found.st_dev, found.st_ino) != root:
        raise OSError(0, "the sandbox's root is not the one that was started")
    linux.setns(first + len(kinds) + 1, linux.CLONE_NEWUSER)
    os.chdir(launcher.WORKSPACE)


def _lock_down(rules: Rules) -> None:
    """Everything but the process limit, which would stop this process itself from forking in a full sandbox."""
    for kind, value in limits(rules):
        process.lower(kind, value)
    os.umask(0o022)
    linux.drop_all_privileges()
    linux.hide_from_peers()
    linux.install_filter(seccomp.program(linux.MACHINE, allow_tracing=rules.allow_tracing))


def _be_inside(report: int, rules: Rules, body: Callable[[], None]) -> None:
    try:
        linux.close_from(report)
        os.setsid()
        process.lower(resource.RLIMIT_NPROC, rules.processes)
        body()
    finally:
        os._exit(127)


def execute(words: Sequence[str], environment: dict[str, str]) -> None:
    """A `body` that becomes another program, with the signals as a fresh program expects them."""
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(words[0], list(words), environment)
