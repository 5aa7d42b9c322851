"""One server tree on one store, and a scripted session on it that comes to every point: what the kill matrix kills.

The session: a model turn with two commands that count themselves in files, a message queued meanwhile, a long command
that is interrupted, the end, the deletion.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from live_server import KEY, Stage
from session_talk import message

from outrider.models.scripted.script import Answer, Pause, Request, Text, ToolUse, Turn
from outrider.ports.log import Row
from outrider.store.postgres import connections
from outrider.testing.postgres_server import postgres_server
from outrider.testing.server_process import ServerProcess, data_directory, end_sandboxes, running_server
from outrider.testing.stops import Stop, Stops

STORES = ("sqlite", "postgres")
DEADLINE = 40.0
LOOK_SECONDS = 0.03
MODEL = "matrix"
CONFIG = "[limits]\nbackoff_first = 0.1\nbackoff_most = 0.5\n"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
COUNTED = ("a", "b", "c")
LONG = "echo c >> c; sleep 60"
ROWS = """
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = (SELECT log FROM heads WHERE session = {name}) ORDER BY seq
"""
Log = Callable[[str], list[Row]]


def answers(request: Request) -> Answer:
    turns = (
        Turn(Text("Two ", Pause(0.1), "commands."), ToolUse("bash", {"command": "echo a >> a"}),
             ToolUse("bash", {"command": "echo b >> b"})),
        Turn("Both are done."),
        Turn(ToolUse("bash", {"command": LONG})),
        Turn("All is done."),
    )  # fmt: skip
    return turns[min(request.replies, len(turns) - 1)]


@dataclass
class Told:
    """What the client was told: ids of events that were said to be stored, and what each connection showed."""

    acknowledged: list[str] = field(default_factory=list[str])
    connections: list[list[tuple[str, bool]]] = field(default_factory=list[list[tuple[str, bool]]])


class Tree:
    """One server tree with a data directory and a port of its own. Started again when its supervisor is gone."""

    def __init__(self, data: Path, environment: Mapping[str, str], stops: Stops) -> None:
        self.data = data
        self.data.mkdir(mode=0o711)
        (self.data / "config.toml").write_text(CONFIG)
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._environment = environment
        self._stops = stops
        self._running = ExitStack()
        self._mending = threading.Lock()
        self._server: ServerProcess | None = None

    def start(self) -> None:
        self._server = self._running.enter_context(
            running_server(
                self.data,
                options=("--port", self.url.rpartition(":")[2]),
                environment=self._environment,
                faults=self._stops.theirs,
                keep_sandboxes=True,
            )
        )
        self._server.until_up()

    def stop(self) -> None:
        self._running.close()
        end_sandboxes(self.data)

    def mend(self) -> None:
        """Start the tree again if it is gone, as a host's service would: it was killed, or gave up because a child was
        killed six times in a row before it had lived for a second."""
        with self._mending:
            if self._server is None or self._server.process.poll() is not None:
                self._running.close()
                self.start()

    def pids(self) -> list[int]:
        """The supervisor and its children, as far as they are known now."""
        assert self._server is not None
        facts = self._server.facts()
        return [self._server.process.pid, *(facts["children"].values() if facts else ())]

    def ended(self, pid: int) -> bool:
        """Whether the end of this process was the end of the tree."""
        assert self._server is not None
        if pid != self._server.process.pid:
            return False
        self._server.process.wait(DEADLINE)
        return True

    def until_said(self, words: Sequence[str]) -> None:
        assert self._server is not None
        server = self._server
        before = len(server.said())
        server.until(lambda: any(word in server.said()[max(0, before - 2000) :] for word in words), " or ".join(words))

    def said(self) -> str:
        return "" if self._server is None else self._server.said()[-3000:]


class Scene:
    """One tree, or on a shared store two if a test asks for the `second`. `stops` sees every process of both."""

    def __init__(self, store: str, place: Path, environment: Mapping[str, str], stops: Stops, log: Log) -> None:
        self.store = store
        self.stops = stops
        self._log = log
        self._place = place
        self._environment = dict(environment)
        self._trees = [Tree(place, environment, stops)]
        self.away: Tree | None = None
        self._agent = self._environment_id = ""

    def start(self) -> None:
        self._trees[0].start()

    def second(self) -> None:
        if len(self._trees) == 1:
            self._trees.append(Tree(self._place.with_name("second"), self._environment, self.stops))
            self._trees[1].start()

    def stop(self) -> None:
        for tree in self._trees:
            tree.stop()

    def mend(self) -> None:
        for tree in self._trees:
            tree.mend()

    def kill(self, stop: Stop) -> None:
        """Kill the process that stands there; if that ends the whole tree, it is started again."""
        os.kill(stop.pid, signal.SIGKILL)
        stop.go()
        for tree in self._trees:
            if tree.ended(stop.pid):
                tree.mend()

    def freeze(self, stop: Stop) -> Tree:
        """Freeze the process that stands there; clients go to the other tree from now on."""
        tree = next(tree for tree in self._trees if stop.pid in tree.pids())
        self.away = tree
        os.kill(stop.pid, signal.SIGSTOP)
        return tree

    def thaw(self, stop: Stop) -> None:
        """Let it go on, and wait until it has found out that it owns nothing any more."""
        tree, self.away = self.away, None
        os.kill(stop.pid, signal.SIGCONT)
        stop.go()
        if tree is not None:
            tree.until_said(("it drops its sessions", "has another owner now"))

    def client(self) -> anthropic.Anthropic:
        here = next(tree for tree in self._trees if tree is not self.away)
        retries = 8 if self.store == "sqlite" else 0  # where there is another server, that one is asked next
        return anthropic.Anthropic(base_url=here.url, api_key=KEY, max_retries=retries, timeout=5.0)

    def session(self) -> Session:
        """A new session; the server may still be coming back from what was done to it before."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                return Session(self, self._made())
            except (anthropic.APIConnectionError, anthropic.InternalServerError):
                assert time.monotonic() < deadline, f"no session can be made\n{self.said()}"
                threading.Event().wait(LOOK_SECONDS)

    def _made(self) -> str:
        with self.client() as client:
            if not self._agent:
                self._agent = client.beta.agents.create(name="matrix", model=MODEL, tools=TOOLSET).id
                self._environment_id = client.beta.environments.create(name="matrix").id
            return client.beta.sessions.create(agent=self._agent, environment_id=self._environment_id).id

    def files(self, session: str, name: str) -> list[Path]:
        """A file of the session's workspace, wherever it is."""
        own = [tree.data / "sandboxes" / "sessions" / session / "own" for tree in self._trees]
        return [place / "workspace" / name for place in own if (place / "workspace" / name).exists()]

    def rows(self, session: str) -> list[Row]:
        return self._log(session)

    def said(self) -> str:
        return "".join(tree.said() for tree in self._trees)


class Session:
    """The scripted session and its client, who is used to servers that go away."""

    def __init__(self, scene: Scene, session_id: str) -> None:
        self._scene = scene
        self.id = session_id
        self.told = Told()
        self.counts: dict[str, int] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def close(self) -> None:
        self._over.set()
        self._watcher.join(DEADLINE)

    def play(self) -> None:
        """From the first message to rest. Raises AssertionError when it does not come to rest in time."""
        self._watcher.start()
        try:
            self._send(message("go"))
            self._send(message("and then"))
            self._until(lambda: self._begun() or self._rested(), "the long command runs, or all is over")
            if not self._begun():  # both messages were taken up at once: the long command is still to come
                self._send(message("and now"))
                self._until(lambda: self._begun() or self._rested(), "the long command runs, or all is over")
            self._send({"type": "user.interrupt"})
            self._until(self._rested, "the session comes to rest")
        finally:
            self._over.set()

    def count(self) -> None:
        self.counts = {name: self._count(name) for name in COUNTED}

    def _count(self, name: str) -> int:
        return sum(len(file.read_text().splitlines()) for file in self._scene.files(self.id, name))

    def delete(self) -> None:
        """Twice is fine: the first answer may have been lost."""

        def gone() -> bool:
            with suppress(anthropic.NotFoundError), self._scene.client() as client:
                try:
                    client.beta.sessions.delete(self.id)
                except anthropic.BadRequestError:  # a message that a frozen server still held has set it to work again
                    return False
            return True

        self._until(gone, "the session is deleted")
        if self._scene.store == "sqlite":  # elsewhere another host's housekeeping may have to find them
            self._until(lambda: not self._scene.files(self.id, "."), "its files are gone")

    def _send(self, event: Any) -> None:
        once = {"Idempotency-Key": os.urandom(8).hex()}  # the same at whichever server it is tried again

        def sent() -> bool:
            with self._scene.client() as client:
                answer = client.beta.sessions.events.send(self.id, events=[event], extra_headers=once)
            self.told.acknowledged += [one.id for one in answer.data or []]
            return True

        self._until(sent, "the event is taken")

    def _begun(self) -> bool:
        return bool(self._scene.files(self.id, "c"))

    def _rested(self) -> bool:
        rows = self._scene.rows(self.id)
        taken = {row.processes for row in rows}
        queued = [row for row in rows if row.type == "user.message" and row.processed_at is None]
        statuses = [row.type for row in rows if row.type.startswith("session.status")]
        return statuses[-1:] == ["session.status_idle"] and all(row.id in taken for row in queued)

    def _until(self, found: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with suppress(anthropic.APIConnectionError, anthropic.InternalServerError, sqlite3.OperationalError):
                if found():
                    return
            self._scene.mend()
            threading.Event().wait(LOOK_SECONDS)
        kinds = [row.type for row in self._scene.rows(self.id)]
        raise AssertionError(f"not within {DEADLINE} s: {what}\n{kinds}\n{self._scene.said()}")

    def _watch(self) -> None:
        """Keep a stream open, connecting again as long as the session goes on."""
        while not self._over.is_set():
            seen: list[tuple[str, bool]] = []
            self.told.connections.append(seen)
            with suppress(anthropic.APIError, httpx2.HTTPError), self._scene.client() as client:
                with client.beta.sessions.events.stream(self.id, timeout=5.0) as stream:
                    for event in stream:
                        shown = event.to_dict()
                        if shown["type"] == "session.deleted":  # all that is ever shown of it
                            return
                        seen.append((str(shown["id"]), shown.get("processed_at") is not None))
                        if self._over.is_set():
                            return


@contextmanager
def scene_on(store: str) -> Generator[Scene]:
    with ExitStack() as stack:
        stage = stack.enter_context(Stage().open())
        stage.put(MODEL, decide=answers)
        data = stack.enter_context(data_directory())
        stops = stack.enter_context(Stops())
        environment = {
            "OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"
        }  # fmt: skip
        log: Log = partial(_sqlite_rows, data / "outrider.db")
        if store != "sqlite":
            url = _postgres(stack)
            environment["OUTRIDER_DATABASE_URL"] = url
            log = stack.enter_context(closing(PostgresRows(url))).rows
        scene = Scene(store, data, environment, stops, log)
        stack.callback(scene.stop)
        scene.start()
        yield scene


def _postgres(stack: ExitStack) -> str:
    server = stack.enter_context(postgres_server())
    return server.url(server.database(), tcp=True)


def _sqlite_rows(path: Path, session: str) -> list[Row]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        return [_row(found) for found in db.execute(ROWS.format(name="?"), (session,)).fetchall()]


class PostgresRows:
    """Reads rows past every server, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._link = self._loop.run_until_complete(connections.to_read(url))

    def rows(self, session: str) -> list[Row]:
        found = self._loop.run_until_complete(self._link.fetch(ROWS.format(name="$1"), session))
        return [_row(tuple(one)) for one in found]

    def close(self) -> None:
        self._loop.run_until_complete(self._link.close())
        self._loop.close()


def _row(found: tuple[Any, ...]) -> Row:
    seq, name, kind, body, thread, public, epoch, processed_at, processes = found
    return Row(seq, name, kind, bytes(body), thread, bool(public), epoch, processed_at, processes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
