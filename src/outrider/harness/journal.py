"""One owner's view of one log: the folded state, rows staged ahead of their append, snapshots.

Staged rows are folded at once and written together by `flush`; when the log turns out to hold other rows in between,
the state is read anew, so what is folded is always what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from outrider import faults
from outrider.clock import Clock
from outrider.errors import Fenced, HeadMoved
from outrider.ids import IdSource
from outrider.ports.log import EventLog, Lease, NewEvent, Snapshot, is_last
from outrider.ports.telemetry import NO_SPAN, NoTracer, Span, Tracer
from outrider.session import state as states
from outrider.session.events import EventFactory, as_row
from outrider.session.fold import apply, fold
from outrider.session.resting import idle_rows
from outrider.session.state import Context, State

PAGE = 1000
SNAPSHOT_AT_REST = 32  # rows since the last snapshot that are worth a new one when a turn ends
SNAPSHOT_ANY_TIME = 256


class Journal:
    """The log of the leased session. `state` may run ahead of the log only between `stage` and `flush`."""

    def __init__(self, log: EventLog, lease: Lease, ids: IdSource, clock: Clock) -> None:
        self.lease = lease
        self.state = State()
        self._log = log
        self._ids = ids
        self._clock = clock
        self._staged: list[NewEvent] = []
        self._exact = False
        self._snapshot_seq = 0
        self._tracer: Tracer = NoTracer()
        self._trace: Callable[[], str] = str
        self.factory = EventFactory("", "", ids, clock)

    def traced_by(self, tracer: Tracer, trace: Callable[[], str]) -> None:
        """Appends are spans below what `trace` names at the time; outside of a traced turn they are none."""
        self._tracer, self._trace = tracer, trace

    @property
    def context(self) -> Context:
        assert self.state.context is not None
        return self.state.context

    async def load(self) -> None:
        """Read the state anew: the latest snapshot, then what follows. Staged rows are forgotten.

        Raises Fenced when the session is gone.
        """
        self._staged, self._exact = [], False
        snapshot, rows = await self._log.resume(self.lease.key, states.VERSION, limit=PAGE)
        self.state = State(context=Context()) if snapshot is None else states.load(snapshot.body)
        self._snapshot_seq = self.state.seq
        fold(rows, self.state)
        if self.state.seq == 0:
            raise Fenced(f"Session {self.lease.key.session} was deleted.")
        if not is_last(rows, PAGE):
            await self.catch_up()
        self.factory = EventFactory(self.state.thread, self.state.agent_name, self._ids, self._clock)

    async def catch_up(self) -> None:
        """Fold what others have appended. With rows staged there is nothing to fold before they are flushed."""
        if self._staged:
            return
        while True:
            rows = await self._log.read(self.lease.key, after=self.state.seq, limit=PAGE)
            fold(rows, self.state)
            if is_last(rows, PAGE):
                return

    def stage(self, *rows: NewEvent, exact: bool = False) -> None:
        """`exact`: they are true only of the state as it is (an idle session may be archived or changed at any
        moment), so their flush will be exact."""
        self._exact = self._exact or exact
        for row in rows:
            apply(self.state, as_row(row, self.state.seq + 1, self.lease.epoch))
            self._staged.append(row)

    def stage_idle(self, stop_reason: Mapping[str, Any], stop_details: Mapping[str, Any] | None) -> None:
        self.stage(*idle_rows(self.factory, self.state, stop_reason, stop_details))

    async def flush(self, *, release: bool = False, exact: bool = False) -> bool:
        """Write the staged rows; True when that gave up the lease.

        `exact`: only if the log holds nothing that this state has not seen. Raises HeadMoved otherwise (nothing is
        written, the state is stale), and Fenced when the session has another owner. Snapshots need exactness too.
        """
        staged, self._staged = self._staged, []
        exact, self._exact = exact or self._exact, False
        if not staged:
            return False
        seen = self.state.seq - len(staged)
        due = self.state.seq - self._snapshot_seq >= (SNAPSHOT_AT_REST if exact else SNAPSHOT_ANY_TIME)
        with self._span(len(staged)), _points(snapshot=due, release=release):
            self.lease = await self._log.append_owned(
                self.lease,
                staged,
                patch=states.patch_for(self.state, self._clock.now()),
                snapshot=Snapshot(self.state.seq, states.VERSION, states.dump(self.state)) if due else None,
                if_head=seen if exact or due else None,
                release=release,
            )
        if due:
            self._snapshot_seq = self.state.seq
        if self.lease.head != self.state.seq:
            raise HeadMoved("a client's rows came in between; the state is read anew")
        return release

    def _span(self, rows: int) -> Span:
        trace = self._trace()
        if not trace:
            return NO_SPAN
        return self._tracer.span("append", parent=trace, attributes={"outrider.rows": rows})

    async def release(self) -> bool:
        """Give the lease up; False when something new has come, which is then folded."""
        with _points(snapshot=False, release=True):
            released = await self._log.release(self.lease, if_head=self.state.seq)
        if released:
            return True
        await self.catch_up()
        return False


@contextmanager
def _points(*, snapshot: bool, release: bool) -> Generator[None]:
    """Where tests kill an owner around an append that does more than append."""
    if snapshot:
        faults.point("harness.snapshot.before")
    if release:
        faults.point("harness.release.before")
    yield
    if snapshot:
        faults.point("harness.snapshot.after")
    if release:
        faults.point("harness.release.after")
