"""Rows of every table as an earlier schema had it: a value for each column that was there, valid by the schema's own
rules. One session of the log is whole, so that a store can go on with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from outrider.ports.log import HistoryQuery, NewEvent, SessionKey
from outrider.ports.store import StorePorts
from outrider.testing.store_trial import THREAD, record

AT = "2026-01-01T00:00:00.000000Z"
KEY = SessionKey("wrkspc_1", "sesn_1")
KNOWN: dict[str, Any] = {
    "workspace": KEY.workspace,
    "session": KEY.session,
    "workspaces.id": KEY.workspace,
    "sessions.id": KEY.session,
    "sessions.status": "idle",
    "thread": THREAD,
    "processed_at": AT,
    "heads.head": 1,
    "idempotency": "sesn_1/x",  # of others, a script takes answers away
    "is_default": True,
    "public": True,
    "buried": False,
}


class Column(NamedTuple):
    name: str
    type: str
    required: bool


def values(table: str, columns: Iterable[Column]) -> dict[str, Any]:
    """A row: what is known, and elsewhere something of the column's type, or nothing where nothing may be."""
    found: dict[str, Any] = {}
    for column in columns:
        known = KNOWN.get(f"{table}.{column.name}", KNOWN.get(column.name))
        if known is not None:
            found[column.name] = known
        elif column.required:
            found[column.name] = _filling(column)
    return found


def _filling(column: Column) -> Any:
    kind = column.type.lower()
    if "bool" in kind:
        return True
    if "int" in kind:
        return 1
    if kind in ("blob", "bytea"):
        return b'{"of":"an earlier release"}'
    return AT if column.name.endswith("_at") or column.name == "at" else f"{column.name} of then"


def digest(value: Any) -> Any:
    """Comparable whatever the driver makes of it."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


async def goes_on(store: StorePorts) -> None:
    """The session of then is read, and takes more."""
    (row,) = await store.read(KEY)
    assert (row.id, row.body) == ("id of then", b'{"of":"an earlier release"}')
    assert (await store.session(KEY)) is not None
    head = await store.append_client(KEY, [NewEvent("more", "user.message", b"{}", THREAD)], if_head=1, wake=True)
    assert [row.id for row in await store.read(KEY)] == ["id of then", "more"], head
    assert "more" in {entry.row.id for entry in await store.history(KEY, HistoryQuery(9))}
    (lease,) = await store.claim("worker of now", limit=1, key=KEY)
    lease = await store.append_owned(lease, [NewEvent("most", "agent.message", b"{}", THREAD, processed_at=AT)])
    assert lease.head == 3
    await store.create_session(record("sesn_2", workspace=KEY.workspace), [], wake=True)
    assert await store.head(SessionKey(KEY.workspace, "sesn_2")) == 0
