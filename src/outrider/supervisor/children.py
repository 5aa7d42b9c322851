"""How a child comes into being: the fork, what it lets go of, whose user it becomes, and its entry.

Promised: a child holds the descriptors that it is given and no others, dies with the supervisor, and imports its own
code only after the fork, before it gives up the right to read files that its new user can't reach.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from outrider import faults
from outrider.supervisor import linux, log, plan, reach, zygote_start

MODULES_DIRECTORY = "OUTRIDER_TEST_MODULES_DIR"
STOPS_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NO_HOME = "/"  # of a role's own user; root's can't be entered by it, on which libraries that look there stumble
_HIGHEST_FD = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """What a child does. `call` is given the function that `target` (`module:function`) names; of all descriptors it
    keeps `keep`; `uid` None: it stays the supervisor's user; `locks`: it may keep all its memory out of swap."""

    name: str
    target: str
    call: Callable[[Callable[..., object]], object]
    keep: tuple[int, ...] = ()
    uid: int | None = None
    locks: bool = False


def fork(part: Part) -> int:
    """The pid of a new child; what happens in it never returns."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _play(part, parent)
    return pid


def _play(part: Part, parent: int) -> NoReturn:
    code = 1
    try:
        linux.die_with(parent)
        linux.name_process(f"outrider-{part.name}")
        _let_go(part)
        log.open_child_log(part.name)
        module, _, name = part.target.partition(":")
        entry = getattr(import_module(module), name)
        if part.locks:
            linux.allow_locked_memory()
        if part.uid is not None:
            reach.open_code_to(part.uid)
            linux.become(part.uid)
            linux.die_with(parent)
            os.environ["HOME"] = NO_HOME
        _tell_modules(part.name)
        part.call(entry)
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End without returning into the supervisor's frames; an error on its way up is shown first."""
    kind, error, trace = sys.exc_info()
    if kind is not None and error is not None and not isinstance(error, SystemExit):
        sys.excepthook(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _let_go(part: Part) -> None:
    os.setpgid(0, 0)  # a Ctrl-C at the terminal is for the supervisor, which ends its children in order
    signal.set_wakeup_fd(-1)
    for number in STOPS_BY:
        signal.signal(number, signal.SIG_DFL)
    held = faults.descriptor()
    _close_all_but({0, 1, 2, *part.keep, *(() if held is None else (held,))})
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def _close_all_but(keep: Iterable[int]) -> None:
    kept = sorted(keep)
    for low, high in zip(kept, [*kept[1:], _HIGHEST_FD], strict=True):
        os.closerange(low + 1, high)


def _tell_modules(name: str) -> None:
    """A hook for tests: which of our modules this process has loaded, now and at each SIGUSR1."""
    directory = os.environ.get(MODULES_DIRECTORY)
    if directory is None:
        return

    def tell(*_: object) -> None:
        ours = sorted(module for module in sys.modules if module.partition(".")[0] == "outrider")
        place = Path(directory, f"{name}.{os.getpid()}.json")
        place.with_suffix(".new").write_text(json.dumps(ours))
        place.with_suffix(".new").rename(place)

    signal.signal(signal.SIGUSR1, tell)
    tell()


def exec_zygote(target: str, control: Path, options: Mapping[str, Any], path: Iterable[str]) -> int:
    """The pid of a new sandbox zygote, in an interpreter of its own: this process is too big to fork a light one."""
    held = {"faults": faults.descriptor()}
    told = {"path": list(path), "target": target, "control": str(control), "options": {**options, **held}}
    fd = plan.memory_file("outrider-zygote", json.dumps(told).encode())
    parent = os.getpid()
    try:
        pid = os.fork()
        if pid == 0:
            _become_zygote(fd, parent)
    finally:
        os.close(fd)
    return pid


def _become_zygote(fd: int, parent: int) -> NoReturn:
    try:
        linux.die_with(parent)
        os.setpgid(0, 0)
        os.chdir("/")  # the sandboxes' shims, which live on, must hold no place
        os.umask(0o022)  # what it makes for other users must be enterable; its modes are its own concern
        os.lseek(fd, 0, os.SEEK_SET)
        os.dup2(fd, 0)
        held = faults.descriptor()
        _close_all_but({0, 1, 2, *(() if held is None else (held,))})
        command = [sys.executable, "-I", "-S", str(zygote_start.__file__)]
        os.execve(sys.executable, command, {"PATH": os.environ.get("PATH", os.defpath)})
    finally:
        _leave(1)
