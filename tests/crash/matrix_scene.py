"""One server tree on one store, and a scripted session on it that comes to every point: what the kill matrix kills.

The session: a model turn with two commands that count themselves in files, a message queued meanwhile, a long command
that is interrupted, the end, the deletion.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import httpx2
from live_server import Stage
from session_talk import message

from outrider.models.scripted.script import Answer, Pause, Request, Text, ToolUse, Turn
from outrider.ports.log import Row
from outrider.testing.server_process import ServerProcess, data_directory, end_sandboxes, running_server
from outrider.testing.stops import Stop, Stops

STORES = ("sqlite",)
DEADLINE = 40.0
LOOK_SECONDS = 0.03
MODEL = "matrix"
CONFIG = "[limits]\nbackoff_first = 0.1\nbackoff_most = 0.5\n"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
COUNTED = ("a", "b", "c")
LONG = "echo c >> c; sleep 60"
ROWS = """
SELECT seq, id, type, body, thread, public, epoch, processed_at, processes FROM events
WHERE log = (SELECT log FROM heads WHERE session = ?) ORDER BY seq
"""
Found = TypeVar("Found")


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


class Scene:
    """`stops` sees every process of the tree. The tree is started again when its supervisor is gone."""

    def __init__(self, store: str, stage: Stage, data: Path, stops: Stops, port: int) -> None:
        self.store = store
        self._stage = stage
        self._data = data
        self.stops = stops
        self._port = port
        self._running = ExitStack()
        self._server: ServerProcess | None = None
        self._agent = self._environment = ""

    def start(self) -> None:
        self._server = self._running.enter_context(
            running_server(
                self._data,
                options=("--port", str(self._port)),
                environment={"OUTRIDER_MODEL_URL": self._stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"},
                faults=self.stops.theirs,
                keep_sandboxes=True,
            )
        )
        self._server.until_up()

    def stop(self) -> None:
        self._running.close()

    def mend(self) -> None:
        """Start the tree again if it is gone; a real host's service would."""
        if self._server is None or self._server.process.poll() is not None:
            self._running.close()
            self.start()

    def kill(self, stop: Stop, number: int) -> None:
        """Kill the process that stands there; if that ends the whole tree, it is started again."""
        os.kill(stop.pid, number)
        stop.go()
        if self._server is not None and stop.pid == self._server.process.pid:
            self._server.process.wait(DEADLINE)
            self.mend()

    def client(self) -> anthropic.Anthropic:
        assert self._server is not None
        return anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{self._port}", api_key=self._server.key(), max_retries=8, timeout=20.0
        )

    def session(self) -> Session:
        client = self.client()
        if not self._agent:
            self._agent = client.beta.agents.create(name="matrix", model=MODEL, tools=TOOLSET).id
            self._environment = client.beta.environments.create(name="matrix").id
        made = client.beta.sessions.create(agent=self._agent, environment_id=self._environment)
        return Session(self, client, made.id)

    def workspace(self, session: str) -> Path:
        return self._data / "sandboxes" / "sessions" / session / "own" / "workspace"

    def rows(self, session: str) -> list[Row]:
        with sqlite3.connect(f"file:{self._data}/outrider.db?mode=ro", uri=True, timeout=10.0) as db:
            found = db.execute(ROWS, (session,)).fetchall()
        db.close()
        return [Row(s, i, t, b, th, bool(p), e, at, of) for s, i, t, b, th, p, e, at, of in found]

    def said(self) -> str:
        return "" if self._server is None else self._server.said()[-3000:]


class Session:
    """The scripted session and its client, who is used to servers that go away."""

    def __init__(self, scene: Scene, client: anthropic.Anthropic, session_id: str) -> None:
        self._scene = scene
        self._client = client
        self.id = session_id
        self.told = Told()
        self.counts: dict[str, int] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def close(self) -> None:
        self._over.set()
        self._watcher.join(DEADLINE)
        self._client.close()

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
            self.counts = {name: self._count(name) for name in COUNTED}

    def _count(self, name: str) -> int:
        try:
            return len((self._scene.workspace(self.id) / name).read_text().splitlines())
        except FileNotFoundError:
            return 0

    def delete(self) -> None:
        """Twice is fine: the first answer may have been lost."""

        def gone() -> bool:
            with suppress(anthropic.NotFoundError):
                self._client.beta.sessions.delete(self.id)
            return True

        self._until(gone, "the session is deleted")
        self._until(lambda: not self._scene.workspace(self.id).exists(), "its files are gone")

    def _send(self, event: Any) -> None:
        def sent() -> bool:
            answer = self._client.beta.sessions.events.send(self.id, events=[event])
            self.told.acknowledged += [one.id for one in answer.data or []]
            return True

        self._until(sent, "the event is taken")

    def _begun(self) -> bool:
        return (self._scene.workspace(self.id) / "c").exists()

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
            threading.Event().wait(LOOK_SECONDS)
        kinds = [row.type for row in self._scene.rows(self.id)]
        raise AssertionError(f"not within {DEADLINE} s: {what}\n{kinds}\n{self._scene.said()}")

    def _watch(self) -> None:
        """Keep a stream open, connecting again as long as the session goes on."""
        while not self._over.is_set():
            seen: list[tuple[str, bool]] = []
            self.told.connections.append(seen)
            with suppress(anthropic.APIError, httpx2.HTTPError):
                with self._client.beta.sessions.events.stream(self.id, timeout=5.0) as stream:
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
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text(CONFIG)
        stops = stack.enter_context(Stops())
        scene = Scene(store, stage, data, stops, _free_port())
        stack.callback(end_sandboxes, data)
        stack.callback(scene.stop)
        scene.start()
        yield scene


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
