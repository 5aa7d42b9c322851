"""The servers on one store, and a scripted session on it that comes to every point: what the kill matrix kills.

The session: a model turn with two commands that count themselves in files and a call of an MCP tool that its server
counts, a message queued meanwhile, a long command that is interrupted, the end, the deletion.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import httpx2
from live_server import KEY, Stage
from matrix_tree import CONFIG, DEADLINE, Tree
from mcp_server import Scene as Notes
from mcp_server import mcp_server
from pki import Authority
from session_talk import message

from outrider.models.scripted.script import Answer, Pause, Request, Text, ToolUse, Turn
from outrider.ports.log import Row
from outrider.store.postgres import connections
from outrider.testing.nats_server import nats_server
from outrider.testing.ports import free_port
from outrider.testing.postgres_server import postgres_server
from outrider.testing.server_process import data_directory
from outrider.testing.stops import Stop, Stops

STORES = ("sqlite", "postgres", "postgres+nats")
LOOK_SECONDS = 0.03
MODEL = "matrix"
NO_RESERVE = "[limits]\nreserve_share = 0\nreserve_bytes = 0\n"
ALLOW = {"permission_policy": {"type": "always_allow"}}
TOOLSET: Any = [
    {"type": "agent_toolset_20260401"},
    {"type": "mcp_toolset", "mcp_server_name": "notes", "default_config": ALLOW},
]
MCP = '[mcp]\nallow_private = ["127.0.0.1"]\n'
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
             ToolUse("bash", {"command": "echo b >> b"}), ToolUse("mcp__notes__note", {"text": "n"})),
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
    """The servers of one store. `fronts` are those that clients go to and that drive sessions; the `others` hold vault
    and sandboxes for them, if the roles are apart. `stops` sees every process of all."""

    def __init__(
        self, store: str, fronts: list[Tree], others: list[Tree], stops: Stops, log: Log, notes: Notes
    ) -> None:
        self.store = store
        self.notes = notes
        self.stops = stops
        self._log = log
        self._fronts = fronts
        self._trees = [*others, *fronts]
        self.away: Tree | None = None
        self._agent = self._environment_id = ""

    def start(self) -> None:
        for tree in self._trees:
            tree.start()
        for tree in self._trees:
            tree.until_up()

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
        """Freeze the process that stands there; clients go to the other front from now on."""
        tree = next(tree for tree in self._fronts if stop.pid in tree.pids())
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

    def hold(self, stop: Stop, seconds: float) -> None:
        """Freeze it for a while, so short that nobody takes it for dead."""
        os.kill(stop.pid, signal.SIGSTOP)
        threading.Event().wait(seconds)
        os.kill(stop.pid, signal.SIGCONT)
        stop.go()

    def client(self) -> anthropic.Anthropic:
        here = next(tree for tree in self._fronts if tree is not self.away)
        retries = 8 if len(self._fronts) == 1 else 0  # where there is another server, that one is asked next
        return anthropic.Anthropic(base_url=here.url, api_key=KEY, max_retries=retries, timeout=5.0)

    def session(self) -> Session:
        """A new session; the server may still be coming back from what was done to it before."""
        deadline = time.monotonic() + DEADLINE
        self.notes.said.clear()
        while True:
            try:
                return Session(self, self._made())
            except (anthropic.APIConnectionError, anthropic.InternalServerError):
                assert time.monotonic() < deadline, f"no session can be made\n{self.said()}"
                threading.Event().wait(LOOK_SECONDS)

    def _made(self) -> str:
        with self.client() as client:
            if not self._agent:
                servers: Any = [{"type": "url", "name": "notes", "url": self.notes.url}]
                made = client.beta.agents.create(name="matrix", model=MODEL, tools=TOOLSET, mcp_servers=servers)
                self._agent = made.id
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

    def rest(self) -> None:
        """Once more: who was frozen may have had something to add."""
        self._until(self._rested, "the session comes to rest again")

    def count(self) -> None:
        self.counts = {name: self._count(name) for name in COUNTED} | {"note": len(self._scene.notes.said)}

    def _count(self, name: str) -> int:
        return sum(len(file.read_text().splitlines()) for file in self._scene.files(self.id, name))

    def delete(self) -> None:
        """Twice is fine: the first answer may have been lost."""

        def gone() -> bool:
            with suppress(anthropic.NotFoundError), self._scene.client() as client:
                client.beta.sessions.delete(self.id)
            return True

        self._until(gone, "the session is deleted")
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
def scene_on(store: str, *, pair: bool = False) -> Generator[Scene]:
    """One server with everything in it; or a `pair` of API and harness that share a vault and a sandbox host."""
    with ExitStack() as stack:
        stage = stack.enter_context(Stage().open())
        stage.put(MODEL, decide=answers)
        notes = stack.enter_context(mcp_server())
        data = stack.enter_context(data_directory())
        stops = stack.enter_context(Stops())
        model = {"OUTRIDER_MODEL_URL": stage.url}
        keys = {"OUTRIDER_API_KEY": KEY}
        log: Log = partial(sqlite_rows, data / "outrider.db")
        if store != "sqlite":
            keys |= _services(stack, store)
            log = stack.enter_context(closing(PostgresRows(keys["OUTRIDER_DATABASE_URL"]))).rows
        secret = {"OUTRIDER_MODEL_KEY": "model-key-for-tests"}
        if pair:
            fronts, others = _apart(data.parent, model | keys, model | secret, stops)
        else:
            fronts, others = [Tree(data, model | keys | secret, stops, CONFIG + MCP)], []
        scene = Scene(store, fronts, others, stops, log, notes)
        stack.callback(scene.stop)
        scene.start()
        yield scene


def _apart(place: Path, front: dict[str, str], vault: dict[str, str], stops: Stops) -> tuple[list[Tree], list[Tree]]:
    """Two servers with API and harness, and what they share: whoever takes a session over finds its sandbox again."""
    authority = Authority(place / "pki")
    listens = {"vault": f"127.0.0.1:{free_port()}", "sandbox": f"127.0.0.1:{free_port()}"}
    front |= {
        "OUTRIDER_VAULT_URL": f"https://{listens['vault']}",
        "OUTRIDER_SANDBOX_HOSTS": f"sandbox=https://{listens['sandbox']}",
    }

    def tree(name: str, role: str, environment: dict[str, str], config: str) -> Tree:
        authority.issue(name, *role.split(","))
        return Tree(place / name, environment, stops, authority.table(name) + config, role)

    return [tree(name, "api,harness", front, CONFIG) for name in ("front1", "front2")], [
        tree("vault", "vault", vault, f'[server]\nvault_listen = "{listens["vault"]}"\n{MCP}'),
        tree("sandbox", "sandbox", {}, f'[sandbox]\nlisten = "{listens["sandbox"]}"\n{NO_RESERVE}'),
    ]


def _services(stack: ExitStack, store: str) -> dict[str, str]:
    server = stack.enter_context(postgres_server())
    found = {"OUTRIDER_DATABASE_URL": server.url(server.database(), tcp=True)}
    if store == "postgres+nats":
        found["OUTRIDER_NATS_URL"] = stack.enter_context(nats_server()).url
    return found


def sqlite_rows(path: Path, session: str) -> list[Row]:
    return [_row(found) for found in sqlite_select(path, ROWS, session)]


def sqlite_select(path: Path, statement: str, value: str) -> list[tuple[Any, ...]]:
    """`{name}` in the statement stands for the value."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as db:
        return db.execute(statement.format(name="?"), (value,)).fetchall()


class PostgresRows:
    """Reads rows past every server, on a connection of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._link = self._loop.run_until_complete(connections.to_read(url))

    def rows(self, session: str) -> list[Row]:
        return [_row(found) for found in self.select(ROWS, session)]

    def select(self, statement: str, value: str) -> list[tuple[Any, ...]]:
        found = self._loop.run_until_complete(self._link.fetch(statement.format(name="$1"), value))
        return [tuple(one) for one in found]

    def close(self) -> None:
        self._loop.run_until_complete(self._link.close())
        self._loop.close()


def _row(found: tuple[Any, ...]) -> Row:
    seq, name, kind, body, thread, public, epoch, processed_at, processes = found
    return Row(seq, name, kind, bytes(body), thread, bool(public), epoch, processed_at, processes)
