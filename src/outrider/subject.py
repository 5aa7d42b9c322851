"""What the running task works on: ids for log lines, carried along by the task's context. Owns no output.

A task that is started for somebody else's work names its own subject first, since it inherits its starter's.
"""

from __future__ import annotations

from contextvars import ContextVar

_request: ContextVar[str] = ContextVar("request", default="")
_session: ContextVar[str] = ContextVar("session", default="")


def name(*, request: str = "", session: str = "") -> None:
    """From here on this task works on these."""
    _request.set(request)
    _session.set(session)


def current() -> dict[str, str]:
    """The ids that are known, by kind."""
    found = {"request": _request.get(), "session": _session.get()}
    return {kind: value for kind, value in found.items() if value}
