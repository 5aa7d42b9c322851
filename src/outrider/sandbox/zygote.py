"""Forks shims: a small single-threaded process that imports nothing but these modules and dies with its parent.

As root it gives each session a user of its own, and stays root to do so. Promised: at most one living shim a session,
by a file lock that the shim holds for life.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from outrider.sandbox import (
    cgroups,
    ending,
    etc,
    launcher,
    layers,
    linux,
    namespaces,
    probe,
    process,
    room,
    sealing,
    seccomp,
    shim,
    stops,
)
from outrider.sandbox.lines import Gate, Reply, listen
from outrider.sandbox.options import BUILD, SESSION, ShimOptions, ZygoteOptions
from outrider.sandbox.reactor import Reactor

COLLECT_SECONDS = 3600.0
_EXTRA_PROCESSES = 64  # a full sandbox must still let the tools' own processes in, so that it can be repaired


def main(control_socket_path: str, options: ZygoteOptions) -> None:
    """Serve at the control socket until the parent dies. Call it right after a fork, before anything heavy is
    imported; it closes every descriptor above 2 and never returns normally."""
    linux.die_with_parent(options["parent"])
    _forget_the_parent(options)
    Zygote(control_socket_path, options).run()


def _forget_the_parent(options: ZygoteOptions) -> None:
    if options["faults"] is not None:
        options["faults"] = os.dup2(options["faults"], 3, inheritable=False)
    linux.close_from(3 if options["faults"] is None else 4)
    stops.connect(options["faults"])
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGINT):  # Ctrl-C is for the parent, which drains; we die with it
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.environ.clear()
    seccomp.program(linux.MACHINE, allow_tracing=False)  # once here, not in every fork
    sys.path.clear()  # from here on nothing can be imported, least of all from where an agent could write
    gc.freeze()


class Zygote:
    def __init__(self, control: str, options: ZygoteOptions) -> None:
        self._options = options
        self._root = options["root"]
        self._reactor = Reactor()
        self._shims: dict[int, str] = {}
        linux.adopt_orphans()
        for place in (self._root, self._sessions(), os.path.join(self._root, layers.FOLDER), options["run"]):
            os.makedirs(place, mode=0o711, exist_ok=True)
        self._etc, self._etc_lock = etc.made(options["run"])
        if options["bwrap"] is not None:
            options["bwrap"] = launcher.install(options["bwrap"], self._root)
        self._groups = cgroups.find(root=os.geteuid() == 0, group=cgroups.group_name(self._root))
        cgroups.sweep(self._groups, set(os.listdir(self._sessions())))
        users = [self._user(name) for name in os.listdir(self._sessions())]
        self._uids = {user[0] for user in users if user is not None}
        self._gate = Gate(
            self._reactor, listen(control, options["harness_uid"]), frozenset({0, options["harness_uid"]}), self._ask
        )
        self._watch_children()
        self._collect_now_and_then()

    def run(self) -> None:
        self._reactor.run()

    def _sessions(self) -> str:
        return os.path.join(self._root, "sessions")

    def _place(self, session: str) -> str:
        return os.path.join(self._sessions(), session)

    def _watch_children(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noticed)
        self._reactor.watch(reader, lambda: self._reap(reader))

    def _reap(self, reader: int) -> None:
        os.read(reader, 4096)
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            session = self._shims.pop(pid, None)
            if session is not None and session not in self._shims.values():
                self._unlink(self.socket_path(session))
                cgroups.remove(self._groups, session)

    def _unlink(self, path: str) -> None:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def socket_path(self, session: str) -> str:
        return os.path.join(self._options["run"], session)

    def _ask(self, request: dict[str, Any], reply: Reply) -> None:
        try:
            self._answer(request, reply)
        except (OSError, ValueError, KeyError) as error:
            reply({"error": "unavailable", "message": f"The sandbox host failed: {error}"})

    def _answer(self, request: dict[str, Any], reply: Reply) -> None:
        if "session" in request:
            self._answer_for_one(request, reply)
        elif request["op"] == "list":
            reply({"sessions": [name for name in os.listdir(self._sessions()) if not name.startswith(BUILD)]})
        elif request["op"] == "layers":
            reply({"missing": sealing.missing(self._root, request["layers"])})
        elif request["op"] == "collect":
            self._collect(reply)
        elif request["op"] == "sockets":
            reply({"sessions": [name for name in os.listdir(self._options["run"]) if SESSION.fullmatch(name)]})
        elif request["op"] == "probe":
            self._apart(lambda: probe.run(self._options, self._groups, self._free_uid(), self._etc), reply)

    def _answer_for_one(self, request: dict[str, Any], reply: Reply) -> None:
        if not SESSION.fullmatch(request["session"]):
            reply({"error": "unavailable", "message": f"{request['session']!r} can't name a sandbox"})
        elif request["op"] == "start":
            reply(self._start(request["session"], warm=request["warm"]))
        elif request["op"] == "end":
            session = request["session"]
            self._apart(lambda: self._end(session), reply)
        elif request["op"] == "delete":
            self._delete_apart(request["session"], reply)
        elif request["op"] == "seal":
            if sealing.is_build_of(request["session"], request["layer"]):
                self._apart(lambda: self._seal(request), reply)
            else:
                reply({"error": "unavailable", "message": "a layer is made by its own build alone"})

    def _apart(self, work: Callable[[], dict[str, Any]], reply: Reply) -> None:
        """Do what takes time in a child of its own; its one line is the answer."""
        reader, writer = os.pipe()
        if process.forked((reader, writer)) == 0:
            _say(work, writer)
        os.close(writer)
        said = bytearray()

        def collect() -> None:
            chunk = os.read(reader, 1 << 16)
            said.extend(chunk)
            if not chunk:
                self._reactor.forget(reader)
                os.close(reader)
                reply(json.loads(said) if said else {"error": "unavailable", "message": "no answer"})

        self._reactor.watch(reader, collect)

    def _delete_apart(self, session: str, reply: Reply) -> None:
        user = self._user(session)

        def deleted(answer: dict[str, Any]) -> None:
            stops.point("zygote.delete.after")
            if user is not None and "ok" in answer:
                self._uids.discard(user[0])
            reply(answer)

        stops.point("zygote.delete.before")
        self._apart(lambda: self._delete(session), deleted)

    def _user(self, session: str) -> tuple[int, int] | None:
        """The session's user, who is the owner of its directory; None if it has none yet. There is no second record
        that a crash could lose."""
        try:
            found = os.lstat(os.path.join(self._place(session), "own"))
        except FileNotFoundError:
            return None
        unfinished = self._options["uid_base"] is not None and found.st_uid == 0
        return None if unfinished else (found.st_uid, found.st_gid)

    def _free_uid(self) -> tuple[int, int]:
        base = self._options["uid_base"]
        if base is None:
            return os.getuid(), os.getgid()
        for uid in range(base, base + self._options["uid_count"]):
            if uid not in self._uids:
                return uid, uid
        raise OSError(errno.EAGAIN, f"all {self._options['uid_count']} users for sandboxes are taken")

    def _make(self, session: str) -> tuple[int, int]:
        own = os.path.join(self._place(session), "own")
        os.makedirs(self._place(session), mode=0o711, exist_ok=True)
        uid, gid = self._free_uid()
        if not os.path.lexists(own):
            os.mkdir(own, 0o700)
        os.chown(own, uid, gid, follow_symlinks=False)
        self._uids.add(uid)
        return uid, gid

    def _start(self, session: str, *, warm: bool) -> dict[str, Any]:
        """Not `warm`: for a call that must not begin, whose shim only has to refuse older owners from now on."""
        weak = probe.weakness(self._options, self._groups)
        if weak is not None:
            return {"error": "unavailable", "message": weak}
        user = self._user(session)
        if user is None:
            user = self._make(session)
        place = self._place(session)
        lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            new = ending.locked(lock) and os.fstat(lock).st_nlink > 0
            if new:
                self._fork(session, place, user, lock, warm=warm)
        finally:
            os.close(lock)
        return {"new": new}

    def _fork(self, session: str, place: str, user: tuple[int, int], lock: int, *, warm: bool) -> None:
        uid, gid = user
        own = os.path.join(place, "own")
        ceilings = cgroups.Ceilings(
            self._options["memory_bytes"], self._options["processes"] + _EXTRA_PROCESSES, self._options["cpus"]
        )
        shim_groups, groups = cgroups.make(self._groups, session, uid, ceilings)
        options: ShimOptions = {
            **self._options,
            "session": session,
            "etc": self._etc,
            "warm": warm,
            "own": own,
            "uid": uid,
            "gid": gid,
            "shim_cgroups": shim_groups,
            "cgroups": groups,
        }
        listener = listen(self.socket_path(session), self._options["harness_uid"])
        stops.point("zygote.start.before")
        pid = os.fork()
        if pid == 0:
            _be_shim(options, listener, (lock, self._etc_lock))
        self._shims[pid] = session
        listener.close()
        stops.point("zygote.start.after")

    def _collect_now_and_then(self) -> None:
        with contextlib.suppress(OSError):  # out of processes or descriptors: the next round does it
            self._collect(_to_nobody)
        self._reactor.after(COLLECT_SECONDS, self._collect_now_and_then)

    def _collect(self, reply: Reply) -> None:
        """Remove layers that nobody uses, and builds that nobody waits for any more."""
        for session in os.listdir(self._sessions()):
            if session.startswith(BUILD) and self._is_left(session):
                self._delete_apart(session, _to_nobody)
        self._apart(lambda: {"removed": sealing.collect(self._root, self._options["layer_days"], self._low)}, reply)

    def _low(self) -> bool:
        return room.low(self._root, self._options["reserve_share"], self._options["reserve_bytes"])

    def _is_left(self, session: str) -> bool:
        try:
            lock = os.open(os.path.join(self._place(session), "lock"), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return ending.locked(lock) and time.time() - os.fstat(lock).st_mtime > sealing.HOUR
        finally:
            os.close(lock)

    def _seal(self, request: dict[str, Any]) -> dict[str, Any]:
        """In a child of the zygote: what this build made becomes a layer; of one that failed its words are kept."""
        session, layer = request["session"], request["layer"]
        if request["failed"]:
            sealing.buried(self._root, layer, request["log"])
            return {"ok": True}
        user, own = self._user(session), os.path.join(self._place(session), "own")
        if user is None:
            return {"error": "unavailable", "message": "nothing was built"}
        lock = os.open(os.path.join(self._place(session), "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not ending.done_as(user, lambda: sealing.finished(own, lock)):
            return {"error": "unavailable", "message": "what was built could not be put in order"}
        sealing.sealed(self._root, own, layer, request["about"], request["log"])
        return {"ok": True}

    def _end(self, session: str) -> dict[str, Any]:
        """Kill a shim that does not answer; its sandbox dies with it."""
        user, own = self._user(session), os.path.join(self._place(session), "own")
        if user is not None and not ending.done_as(user, lambda: ending.end_living(own)):
            return {"error": "unavailable", "message": f"the sandbox of session {session} could not be ended"}
        return {"ok": True}

    def _delete(self, session: str) -> dict[str, Any]:
        """In a child of the zygote: erase as the session's own user, then remove what is left as ourselves."""
        place = self._place(session)
        user = self._user(session)
        if user is not None:
            lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not ending.done_as(user, lambda: ending.erase_all(os.path.join(place, "own"), lock)):
                return {"error": "unavailable", "message": f"session {session} could not be erased"}
            cgroups.end_all(self._groups, session)
            self._unlink(self.socket_path(session))
            self._unlink(os.path.join(place, "lock"))
        for empty in (os.path.join(place, "own"), place):
            if os.path.lexists(empty):
                os.rmdir(empty)
        cgroups.remove(self._groups, session)
        return {"ok": True}


def _to_nobody(answer: dict[str, Any]) -> None:
    """Nobody waits for it."""


def _noticed(number: int, frame: object) -> None:
    """SIGCHLD needs a handler so that the wakeup pipe is written."""


def _say(work: Callable[[], dict[str, Any]], writer: int) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            answer = work()
        except (OSError, namespaces.Unavailable) as error:
            answer = {"error": "unavailable", "message": str(error)}
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _be_shim(options: ShimOptions, listener: socket.socket, locks: tuple[int, int]) -> None:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shim.serve(options, listener, locks)
    finally:
        # A traceback would go to the log by itself only at interpreter exit, which a fork must not reach.
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(0)
