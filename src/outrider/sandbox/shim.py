"""One session's sandbox host: owns its journal, its sandbox and its shells, and answers on a unix socket.

Outlives whoever asked; when it dies its sandbox dies. Single-threaded, standard library only, no import after start.
"""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Callable
from typing import Any

from outrider.sandbox import (
    egress,
    ending,
    enter,
    folders,
    inputs,
    launcher,
    layers,
    linux,
    memory,
    namespaces,
    output,
    outputs,
    process,
    room,
    shell,
    skills,
    state,
    stops,
    uploads,
    worker,
)
from outrider.sandbox.journal import Journal
from outrider.sandbox.lines import Gate, Reply
from outrider.sandbox.options import ShimOptions
from outrider.sandbox.reactor import Reactor

INTERRUPTED = "interrupted before it finished; it may have partly run"
UNKEPT = "ended by its host, which had lost touch with whoever owns the session; it may have partly run"
LOST = "The sandbox that ran this is gone; it may have partly run."
NOT_MOUNTED = {"error": "unmounted", "message": "The session's memory is not mounted in its sandbox."}
KEPT_RESULTS = 256
DIRECTORIES = ("workspace", "outputs", uploads.FOLDER, skills.FOLDER, uploads.DRAFTS, "results", "trust")
Waiting = dict[str, list[Reply]]


class Shim:
    def __init__(self, options: ShimOptions, listener: socket.socket) -> None:
        self._options = options
        self._own = options["own"]
        self._reactor = Reactor()
        for name in DIRECTORIES:
            os.makedirs(os.path.join(self._own, name), mode=0o755, exist_ok=True)
        self._box: namespaces.Box | None = None
        self._launch: namespaces.Launch | None = None
        self._way: egress.Way | None = None
        self._told: dict[str, str] = {}
        self._memory = memory.Memory(self._own)
        self._folders = folders.Folders(options["folders"])
        self._layers = layers.Layers(self._own, options["root"], options["etc"])
        self._rules = _rules(options)
        self._end_leftover()
        if options["warm"] and options["bwrap"] is not None:
            self._launch_early(options["bwrap"])  # it gets ready while the rest here does
        self._journal = self._opened_journal()
        self._given = {kind.folder: kind(self._own) for kind in (uploads.Uploads, skills.Skills)}
        self._shells: dict[str, shell.Shell] = {}
        self._workers: dict[str, worker.Worker] = {}
        self._waiting: Waiting = {}
        self._last_active = time.monotonic()
        self._until: float | None = None
        self._watch = room.Watch(self._reactor, options, self)
        self._gate = Gate(self._reactor, listener, frozenset({0, options["harness_uid"]}), self._ask)
        self._reactor.after(options["idle"], self._check_idle)

    def _opened_journal(self) -> Journal:
        try:
            return Journal(os.path.join(self._own, "journal"))
        except BaseException:
            self._drop_launch()
            raise

    def run(self) -> None:
        self._reactor.run()

    def _ask(self, request: dict[str, Any], reply: Reply) -> None:
        handlers: dict[str, Callable[[dict[str, Any], Reply], None]] = {
            "execute": self._execute,
            "interrupt": self._interrupt,
            "status": self._status,
            "keep": self._keep,
            "outputs": self._list_outputs,
            "output": self._read_output,
            "missing": self._missing_uploads,
            "upload": self._put_upload,
            "memory": self._use_memory,
            "equip": self._equip,
            "stop": self._stop,
        }
        handler = handlers.get(request.get("op", ""))
        if handler is None:
            reply({"error": "unavailable", "message": "The sandbox does not know this request."})
            return
        try:
            handler(request, reply)
        except uploads.Refused as problem:
            reply({"error": "unavailable", "message": str(problem)})
        except OSError as error:
            reply({"error": "unavailable", "message": f"The sandbox's own storage failed: {error.strerror}"})

    def _status(self, request: dict[str, Any], reply: Reply) -> None:
        reply({
            "session": self._options["session"],
            "running": len(self._waiting),
            "sandbox": self._box is not None,
            "pid": os.getpid(),
            "init": self._box.init if self._box else None,
            "idle": time.monotonic() - self._last_active,
        })  # fmt: skip

    def _list_outputs(self, request: dict[str, Any], reply: Reply) -> None:
        if not self._fenced(request["epoch"], reply):
            found, cut = outputs.listed(os.path.join(self._own, "outputs"))
            reply({"outputs": found, "cut": cut})

    def _read_output(self, request: dict[str, Any], reply: Reply) -> None:
        root = os.path.join(self._own, "outputs")
        reply(outputs.piece(root, request["path"], request["mark"], request["offset"]))

    def _missing_uploads(self, request: dict[str, Any], reply: Reply) -> None:
        """From here on, no earlier owner changes what is there."""
        if not self._fenced(request["epoch"], reply):
            self._journal.raise_epoch(request["epoch"])
            missing: list[list[str]] = []
            for folder, given in self._given.items():
                wanted = [[path, file, size] for path, file, size, where in request["uploads"] if where == folder]
                missing += [[folder, path] for path in given.missing(wanted)]
            reply({"missing": missing})

    def _put_upload(self, request: dict[str, Any], reply: Reply) -> None:
        if self._fenced(request["epoch"], reply):
            return
        if room.low(self._own, self._options["reserve_share"], self._options["reserve_bytes"]):
            raise uploads.Refused(room.NEARLY_FULL)
        self._last_active = time.monotonic()
        path, file, size, folder = request["upload"]
        self._given[folder].put(path, file, size, request["offset"], base64.b64decode(request["data"]))
        reply({"ok": True})

    def _equip(self, request: dict[str, Any], reply: Reply) -> None:
        """Have these packages from now on, or be where such are installed."""
        if self._fenced(request["epoch"], reply):
            return
        self._journal.raise_epoch(request["epoch"])
        problem = self._layers.problem(request["layers"], request["build"], self._options["bwrap"])
        if problem is not None:
            reply({"error": "unavailable", "message": problem})
            return
        if self._layers.take(request["layers"], request["build"]):
            self._drop_launch()
            self.end_all("the sandbox was started again with its packages")
        reply({"ok": True})

    def _use_memory(self, request: dict[str, Any], reply: Reply) -> None:
        """What is asked of the session's mounted memory; see `ports.mounted`."""
        what = request["what"]
        if what != "unmount" and self._fenced(request["epoch"], reply):
            return
        if what == "mount":
            if self._memory.mount(request["mounts"]):  # a sandbox that is there already does not have them
                self._drop_launch()
                self.end_all("the sandbox was started again with its memory")
            reply({"ok": True})
        elif what == "unmount":
            reply({"ok": self._memory.unmount(request["name"])})
        elif not self._memory.has(request["mounts"]):
            reply(NOT_MOUNTED)
        elif what == "changes":
            reply(self._memory.changes(request["after"], request["most"]))
        elif what == "held":
            reply({"held": self._memory.held()})
        else:
            self._memory.settle(request["steps"], replace=not self._waiting)
            reply({"replaced": not self._waiting})

    def _drop_launch(self) -> None:
        launch, self._launch = self._launch, None
        if launch is not None:
            launch.abandon()

    def _keep(self, request: dict[str, Any], reply: Reply) -> None:
        self._keep_until(request["until"])
        reply({"ok": True})

    def _keep_until(self, until: float) -> None:
        """From the first call on this sandbox has an end, which each further one can only put off."""
        first, self._until = self._until is None, max(until, self._until or until)
        if first:
            self._check_kept()

    def _check_kept(self) -> None:
        assert self._until is not None
        left = self._until - time.monotonic()
        if left > 0:
            self._reactor.after(left, self._check_kept)
            return
        self._gate.close()
        self.end_all(UNKEPT)
        self._reactor.running = False

    def _fenced(self, epoch: int, reply: Reply) -> bool:
        if epoch < self._journal.epoch:
            reply({"error": "fenced", "message": f"epoch {epoch} is older than {self._journal.epoch}"})
            return True
        return False

    def _execute(self, request: dict[str, Any], reply: Reply) -> None:
        call, epoch = request["call"], request["epoch"]
        if self._fenced(epoch, reply):
            return
        if request.get("until") is not None:
            self._keep_until(request["until"])
            if not self._reactor.running:
                reply({"error": "unavailable", "message": "the request was too long on its way"})
                return
        if call["id"] in self._waiting:
            self._journal.raise_epoch(epoch)
            self._waiting[call["id"]].append(reply)
            return
        stored = self._journal.outcome(call["id"])
        if stored is not None:
            reply({"outcome": stored})
        elif self._journal.started(call["id"]) or request["resume"]:
            self._journal.raise_epoch(epoch)  # an owner that was frozen before it asked must not begin it after this
            partial = output.clean(self._journal.partial(call["id"]))[-output.PREVIEW_CHARACTERS :]
            reply({"error": "lost", "message": LOST + (f" Its output so far:\n{partial}" if partial else "")})
        else:
            self._begin(call, epoch, reply)

    def _begin(self, call: dict[str, Any], epoch: int, reply: Reply) -> None:
        broken = inputs.problem(call["name"], call["input"])
        if broken:
            reply({"outcome": worker.failure(broken)})
            return
        if call["mounts"] and not self._memory.has(call["mounts"]):
            reply(NOT_MOUNTED)
            return
        try:
            self._show(call["folders"])
            self._ensure()
        except namespaces.Unavailable as problem:
            reply({"error": "unavailable", "message": str(problem)})
            return
        stops.point("shim.start.before")
        self._journal.start(call["id"], epoch, call["name"])
        stops.point("shim.start.after")
        self._waiting[call["id"]] = [reply]
        given = {name: value for name, value in call["input"].items() if value is not None}
        stops.point("shim.exec.before")
        if call["name"] == "bash":
            self._run_command(call["id"], call["thread"], given)
        elif call["name"] == inputs.KEEP:
            self._finish(call["id"], {"content": [worker.files.text_block(given["text"])], "is_error": False})
        else:
            self._run_worker(call["id"], call["name"], given)
        stops.point("shim.exec.after")

    def _show(self, asked: folders.Asked) -> None:
        """Have a sandbox, the next time that one is needed, in which these folders are."""
        problem = self._folders.problem(asked)
        if problem is not None:
            raise namespaces.Unavailable(problem)
        if self._folders.take(asked):
            self._drop_launch()
            self.end_all("the sandbox was started again with its folders")

    def _run_command(self, call: str, thread: str, given: dict[str, Any]) -> None:
        if thread not in self._shells:
            self._shells[thread] = shell.Shell(self._reactor, self._spawn, self._variables)
        self._shells[thread].submit(
            shell.Command(
                id=call,
                text=None if given.get("restart") else given["command"],
                timeout_ms=given.get("timeout_ms", inputs.DEFAULT_TIMEOUT_MS),
                spool=self._journal.spool(call),
                done=lambda text, is_error: self._finish(
                    call, {"content": [worker.files.text_block(text)], "is_error": is_error}
                ),
            )
        )

    def _run_worker(self, call: str, tool: str, given: dict[str, Any]) -> None:
        def spawn(fds: list[int], body: Callable[[], None]) -> int:
            return self._spawn(fds, body, cpu_seconds=worker.CPU_SECONDS)

        try:
            self._workers[call] = worker.Worker(
                self._reactor, spawn, tool, given, lambda outcome: self._finish(call, outcome)
            )
        except namespaces.Unavailable as problem:
            self._finish(call, worker.failure(f"{tool}: {problem}"))
        except OSError as error:
            self._finish(call, worker.failure(f"{tool}: {error.strerror}"))

    def _spawn(self, fds: list[int], body: Callable[[], None], cpu_seconds: int | None = None) -> int:
        return enter.spawn(self._ensure(), self._rules, fds, body, cpu_seconds=cpu_seconds)

    def _finish(self, call: str, outcome: dict[str, Any]) -> None:
        self._workers.pop(call, None)
        outcome = self._bounded(call, outcome)
        stops.point("shim.result.before")
        self._journal.finish(call, outcome)
        stops.point("shim.result.after")
        self._last_active = time.monotonic()
        for reply in self._waiting.pop(call):
            reply({"outcome": outcome})

    def _bounded(self, call: str, outcome: dict[str, Any]) -> dict[str, Any]:
        """A result that is too long goes into a file that the agent can read but not change."""
        texts = [block.get("text", "") for block in outcome["content"] if block["type"] == "text"]
        text = "\n".join(texts)
        if len(text) <= output.RESULT_CHARACTERS:
            return outcome
        others = [block for block in outcome["content"] if block["type"] != "text"]
        shown = output.preview(text, self._kept(f"{call}.txt", text))
        return {"content": [worker.files.text_block(shown), *others], "is_error": outcome["is_error"]}

    def _kept(self, name: str, text: str) -> str:
        """Where the agent finds the whole of a long result."""
        directory = os.path.join(self._own, "results")
        try:
            for old in sorted(os.listdir(directory))[: -KEPT_RESULTS + 1]:
                os.unlink(os.path.join(directory, old))
            with open(os.path.join(directory, name), "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
        except OSError as error:  # a full disk must not end what else runs here
            return f"the whole result could not be kept: {error.strerror}"
        return f"the whole result is in {launcher.RESULTS}/{name}"

    def _interrupt(self, request: dict[str, Any], reply: Reply) -> None:
        if self._fenced(request["epoch"], reply):
            return
        self._journal.raise_epoch(request["epoch"])
        self._end_call(request["call_id"], INTERRUPTED)
        reply({"ok": True})

    def _end_call(self, call: str, reason: str) -> None:
        if call in self._workers:
            self._workers[call].end(reason)
            return
        for one in list(self._shells.values()):
            if one.interrupt(call, reason):
                return

    def lives(self) -> bool:
        return self._box is not None

    def busy(self) -> bool:
        return bool(self._waiting)

    def end_calls(self, reason: str) -> None:
        for call in list(self._waiting):
            self._end_call(call, reason)

    def end_all(self, reason: str) -> None:
        for call in list(self._workers):
            self._workers[call].end(reason)
        shells, self._shells = self._shells, {}
        for one in shells.values():
            one.close(reason)
        self._drop_box()

    def _ensure(self) -> namespaces.Box:
        """The sandbox, started now if there is none. What ran in one that ended notices by itself."""
        if self._box is not None and not self._box.alive():
            self._drop_box()
        if self._box is None:
            options = self._options
            if options["bwrap"] is None:
                raise namespaces.Unavailable(options["bwrap_problem"])
            if room.low(self._own, options["reserve_share"], options["reserve_bytes"]):
                raise namespaces.Unavailable(room.NEARLY_FULL)
            launch, self._launch = self._launch or self._launched(options["bwrap"]), None
            self._box = launch.ready()
            try:
                self._take_up(self._box)
            except OSError as error:  # a sandbox is one with its way out, its record and its watch, or none
                self._drop_box()
                raise namespaces.Unavailable(f"the sandbox could not be set up: {error.strerror}") from error
        return self._box

    def _take_up(self, box: namespaces.Box) -> None:
        self._way = egress.Way(self._reactor, self._options["egress"], self._options["session"], self._hear)
        self._way.open(box)
        self._reactor.watch(box.monitor_fd, self._drop_box)
        state.write(self._own, self._options["session"], box.init)
        self._watch.begin()

    def _launch_early(self, bwrap: str) -> None:
        try:
            self._launch = self._launched(bwrap)
        except namespaces.Unavailable:
            self._launch = None  # said when it is needed

    def _launched(self, bwrap: str) -> namespaces.Launch:
        binds = [*self._memory.binds(), *self._folders.binds(), *self._layers.binds()]
        return namespaces.launch(bwrap, self._options["etc"], self._own, self._options["sizes"], self._rules, binds)

    def _variables(self) -> dict[str, str]:
        """What the egress proxy wants commands to have in their environment; waits until it has said so."""
        if self._way is not None:
            self._way.settle()
        own = dict(self._options["build_environment"]) if self._layers.building else self._layers.variables()
        if self._options["egress"] is None:
            return {**self._told, **own}
        return {**egress.machines_authorities(), **self._told, **egress.ENVIRONMENT, **own}

    def _hear(self, told: egress.Told) -> None:
        if told["trust"]:
            egress.write_trust(os.path.join(self._own, "trust"), told["trust"])
        self._told = told["environment"]

    def _drop_box(self) -> None:
        box, self._box = self._box, None
        way, self._way = self._way, None
        if way is not None:
            way.close()
        if box is not None:
            self._reactor.forget(box.monitor_fd)
            box.end()
            self._layers.release()

    def _end_leftover(self) -> None:
        """A shim that was killed takes its sandbox along, but not at once: make sure before there is another."""
        before = state.read(self._own)
        if before is not None:
            namespaces.end_leftover(before["init"], before["init_start"])

    def _stop(self, request: dict[str, Any], reply: Reply) -> None:
        self._gate.close()
        self.end_all("the sandbox was stopped; this may have partly run")
        reply({"ok": True})
        self._reactor.running = False

    def _check_idle(self) -> None:
        left = self._last_active + self._options["idle"] - time.monotonic()
        if self._waiting or left > 0:
            self._reactor.after(max(left, 1.0), self._check_idle)
            return
        self._gate.close()
        self.end_all("idle")
        self._reactor.running = False


def _rules(options: ShimOptions) -> namespaces.Rules:
    return namespaces.Rules(
        processes=options["processes"],
        open_files=options["open_files"],
        file_bytes=options["workspace_bytes"],
        data_bytes=options["memory_bytes"],
        allow_tracing=options["allow_tracing"],
        cgroups=tuple(options["cgroups"]),
    )


def serve(options: ShimOptions, listener: socket.socket, locks: tuple[int, int]) -> None:
    """Be the shim: called in a fresh fork of the zygote, never returns. `locks` stay open for as long as it lives: the
    session's, and that of what is mounted as /etc."""
    os.setsid()
    process.join(tuple(options["shim_cgroups"]))
    ending.become(options["uid"], options["gid"])
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    log = os.open(os.path.join(options["own"], "shim.log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    held = [] if options["faults"] is None else [options["faults"]]
    process.lay_out([null, null, log, listener.detach(), *locks, *held])
    linux.close_from(6 + len(held))
    for fd in range(3, 6 + len(held)):
        os.set_inheritable(fd, False)
    stops.connect(6 if held else None)
    Shim(options, socket.socket(fileno=3)).run()
