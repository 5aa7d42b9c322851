"""The kill matrix: kills the process that stands at each named point, then holds what is left against the invariants.

`cells` says what is tried, `run` tries one, `sample` picks what a build tries; the page is made by `matrix_page`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from matrix_scene import COUNTED, Scene, Session

from outrider import faults
from outrider.ports.log import Row
from outrider.session import events
from outrider.testing.invariants import check, check_seen
from outrider.testing.stops import Stop

COMMITS = 16  # how many of the session's first commits are each killed before and after
AFTER_A_DEATH = {  # points that only a recovery comes to: the point at which the server is killed first
    "harness.claim": "harness.model.after",
    "harness.bury": "harness.tool.after",
    "supervisor.fork": "harness.tool.after",
}
MORE = {"harness.model": 3, "harness.tool": 2, "vault.forward": 2, "shim.start": 2, "shim.exec": 3, "shim.result": 2}
MOVES = frozenset({"blob.put", "cold.put", "cold.freeze", "cold.thaw"})
KEEPS = frozenset(
    f"vault.{what}" for what in ("declare", "put", "purge", "tell", "forget", "audit", "refresh", "probe")
)
FILES = frozenset(
    {"file.put", "file.add", "file.delete", "skill.put", "skill.add", "skill.delete", "output.put", "output.add"}
)
MOUNTS = frozenset({"api.token", "harness.repository", "harness.checkout", "vault.mirror"})
GIVEN = frozenset({"resource.add", "resource.drop", "harness.upload", "shim.upload"})
MEMORY = frozenset({"memory.mount", "memory.write", "memory.settle", "shim.settle"})
TELLS = frozenset({"api.webhook", "webhook.fan_out", "webhook.send", "webhook.settle", "vault.webhook"})
WORK = frozenset(f"work.{what}" for what in ("enlist", "claim", "ack", "beat", "stop", "lapse"))
EQUIPS = frozenset({"harness.equip", "layer.seal"})
RUNS = frozenset({"run.add", "run.fire", "run.end"})
DOOMS = frozenset(f"workspace.{what}" for what in ("mark", "session", "bytes", "rows"))
DREAMS = frozenset(f"dream.{what}" for what in ("add", "begin", "put", "decide", "close", "settle"))
LATE = frozenset(
    {"run.fire", "run.end", "work.claim", *(f"dream.{what}" for what in ("begin", "put", "decide", "close", "settle"))}
)
"""Where an owner that stands still is overtaken, beside those of the session's own loop."""


@dataclass(frozen=True, slots=True)
class Kills:
    """What a test kills, on its stores in turn, another one each second day; before what it holds an owner on a shared
    store, until another one has done it."""

    places: frozenset[str]
    stores: tuple[str, ...] = ("sqlite", "postgres")
    held: frozenset[str] = frozenset()


KILLED_IN = {
    "test_log_size_kill.py": Kills(MOVES),
    "test_vault_kill.py": Kills(KEEPS),
    "test_files_kill.py": Kills(FILES),
    "test_repository_kill.py": Kills(MOUNTS),
    "test_given_files_kill.py": Kills(GIVEN),
    "test_memory_kill.py": Kills(MEMORY),
    "test_webhook_kill.py": Kills(TELLS, held=frozenset({"webhook.settle"})),
    "test_work_kill.py": Kills(WORK),
    "test_deployment_kill.py": Kills(RUNS),
    "test_workspace_kill.py": Kills(DOOMS),
    "test_packages_kill.py": Kills(EQUIPS),
    "test_dream_kill.py": Kills(DREAMS),
    "test_late_owners.py": Kills(frozenset(), ("postgres",), LATE),
}
"""Places that the matrix's session does not come to, by the test that kills there. With NATS none is killed."""
ELSEWHERE = frozenset[str]().union(*(kills.places for kills in KILLED_IN.values()))
TAKEN_OVER = {"store.commit": 10, "api.take": 2, "harness.model": 3, "harness.tool": 2, "harness.interrupt": 1}
HELD_SECONDS = 120.0  # longer than a session plays: whoever comes to the point later would stand there for good
JOIN_SECONDS = 15.0
FROZEN_SECONDS = 4.5  # so that it was buried, even if nobody needed what it held
HOLD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Cell:
    """Kill whoever comes to `point` for the nth time; `first`: after the server was killed at another point."""

    store: str
    point: str
    nth: int = 1
    first: str | None = None
    signal: str = "SIGKILL"
    """Or SIGSTOP: until another server has finished the session, or for a second where there is no other."""

    @property
    def taken_over(self) -> bool:
        place = self.point.rpartition(".")[0]
        return self.signal == "SIGSTOP" and self.store != "sqlite" and place in TAKEN_OVER

    def __str__(self) -> str:
        return f"{self.store} {self.signal} {self.point} #{self.nth}" + (f" after {self.first}" if self.first else "")


@dataclass(slots=True)
class Outcome:
    cell: Cell
    reached: bool
    violations: list[str]
    recovery: float | None
    """Seconds from the kill to the session's next row; None when the session needed none."""
    seconds: float = 0.0


def cells(store: str) -> list[Cell]:
    """Everything that is tried on a store, in a fixed order."""
    found: list[Cell] = []
    for point in sorted(faults.POINTS):
        place = point.rpartition(".")[0]
        if place in ELSEWHERE:
            continue
        times = COMMITS if place == "store.commit" else MORE.get(place, 1)
        found += [Cell(store, point, nth, AFTER_A_DEATH.get(place)) for nth in range(1, times + 1)]
    return found + _freezes(store)


def _freezes(store: str) -> list[Cell]:
    """Every point once, and those at which an owner stands that another can take over from more often; half as often
    with NATS, which makes no difference to who owns what."""
    found: list[Cell] = []
    for point in sorted(faults.POINTS):
        place = point.rpartition(".")[0]
        if place in ELSEWHERE:
            continue
        times = 1 if store == "sqlite" else TAKEN_OVER.get(place, 1)
        times = max(1, times // 2) if store == "postgres+nats" else times
        found += [Cell(store, point, nth, AFTER_A_DEATH.get(place), "SIGSTOP") for nth in range(1, times + 1)]
    return found


def sample(store: str, signal: str, count: int, seed: int) -> list[Cell]:
    """So many cells, no point twice; another seed, other cells. Of the freezes, those that another server takes over
    from, where there is one."""
    every = [cell for cell in cells(store) if cell.signal == signal]
    if signal == "SIGSTOP" and store != "sqlite":
        every = [cell for cell in every if cell.taken_over]
    random.Random(seed).shuffle(every)
    points = {cell.point: cell for cell in every}
    return list(points.values())[:count]


def paired(store: str, signal: str) -> bool:
    """Whether these cells are tried on two servers with API and harness."""
    return store != "sqlite" and signal == "SIGSTOP"


def run(scene: Scene, cell: Cell) -> Outcome:
    """One session, one kill. Whatever goes wrong is a violation of the outcome, never an exception."""
    began = time.monotonic()
    scene.stops.run()
    scene.mend()
    session = scene.session()
    killer = _Killer(scene, cell)
    killer.start()
    violations: list[str] = []
    rows: list[Row] = []
    try:
        session.play()
        if cell.taken_over:
            killer.finish()
            session.rest()
        session.count()
        rows = scene.rows(session.id)
        session.delete()
    except AssertionError as problem:
        violations.append(f"stuck: {problem}")
        rows = rows or scene.rows(session.id)
    killer.finish()
    session.close()
    violations += _broken(session, rows)
    return Outcome(cell, killer.killed is not None, violations, _recovery(rows, killer.killed), _since(began))


def _since(began: float) -> float:
    return time.monotonic() - began


class _Killer(threading.Thread):
    """Waits at the points and kills; starts the tree again if that was what was killed."""

    def __init__(self, scene: Scene, cell: Cell) -> None:
        super().__init__(daemon=True)
        self._scene = scene
        self._cell = cell
        self._frozen: Stop | None = None
        self._points = [(cell.first, 1)] if cell.first else []
        self._points.append((cell.point, cell.nth))
        self.killed: float | None = None  # wall time, to be compared with rows' stamps
        scene.stops.want(*self._points[0])

    def run(self) -> None:
        for number in range(len(self._points)):
            stop = self._scene.stops.held(HELD_SECONDS)
            if stop is None:
                return
            if number + 1 < len(self._points):
                self._scene.stops.want(*self._points[number + 1])
                self._scene.kill(stop)
            else:
                self._strike(stop)

    def _strike(self, stop: Stop) -> None:
        if self._cell.signal == "SIGSTOP" and not self._cell.taken_over:
            self._scene.hold(stop, HOLD_SECONDS)
        self.killed = time.time()
        if self._cell.taken_over:
            self._scene.freeze(stop)
            self._frozen = stop
        elif self._cell.signal == "SIGKILL":
            self._scene.kill(stop)

    def finish(self) -> None:
        """Whoever was frozen goes on, now that the session was finished elsewhere: it must change nothing any more."""
        self._scene.stops.give_up()
        self.join(JOIN_SECONDS)
        if self._frozen is not None:
            frozen, self._frozen = self._frozen, None
            assert self.killed is not None
            threading.Event().wait(max(0.0, self.killed + FROZEN_SECONDS - time.time()))
            self._scene.thaw(frozen)


def _broken(session: Session, rows: Sequence[Row]) -> list[str]:
    found = [str(violation) for violation in check(rows, acknowledged=session.told.acknowledged)]
    for connection in session.told.connections:
        found += [str(violation) for violation in check_seen(rows, connection)]
    return found + _doubled(session, rows) + _miscounted(session, rows)


def _doubled(session: Session, rows: Sequence[Row]) -> list[str]:
    """All that was sent was acknowledged in the end, under one id, however often it was tried and wherever."""
    told = set(session.told.acknowledged)
    sent = [row for row in rows if row.type in ("user.message", "user.interrupt")]
    return [f"stored-once: {row.type} {row.id} was stored, too" for row in sent if row.id not in told]


def _miscounted(session: Session, rows: Sequence[Row]) -> list[str]:
    """Each call's side effect happened at most once, and exactly once where its result says that it worked."""
    results = [events.decode(row.body) for row in rows if row.type in ("agent.tool_result", "agent.mcp_tool_result")]
    worked = {body.get("tool_use_id") or body["mcp_tool_use_id"] for body in results if not body["is_error"]}
    found: list[str] = []
    uses_of = {
        name: [row.id for row in rows if row.type == "agent.tool_use" and f"echo {name} " in row.body.decode()]
        for name in COUNTED
    } | {"note": [row.id for row in rows if row.type == "agent.mcp_tool_use"]}
    for name, uses in uses_of.items():
        count = session.counts.get(name, 0)
        least = 1 if worked & set(uses) else 0
        if not least <= count <= 1:
            found.append(f"side-effects: {name} happened {count} times, at least {least} was reported")
    return found


def _recovery(rows: Sequence[Row], killed: float | None) -> float | None:
    if killed is None:
        return None
    stamps = (datetime.fromisoformat(row.processed_at).timestamp() for row in rows if row.processed_at is not None)
    return min((stamp - killed for stamp in stamps if stamp > killed), default=None)
