"""The process tree of `outrider serve`: `run` replaces the calling process by a supervisor that holds no secret.

Owns processes, users, sockets and deaths; knows nothing of sessions. What each process may hold is in
docs/decisions/processes.md.
"""

from __future__ import annotations

from outrider.supervisor.plan import Roles
from outrider.supervisor.prelude import run

__all__ = ["Roles", "run"]
