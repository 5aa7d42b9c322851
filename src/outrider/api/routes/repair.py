"""Our own extra: what is wrong with one session, and mending it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from outrider.api.endpoint import Call, Reply
from outrider.api.repair import Report, inspect, mend
from outrider.ports.log import SessionKey


async def get_repair(call: Call) -> Reply:
    return Reply(_shown(call, await inspect(call.services, _key(call))))


async def repair(call: Call) -> Reply:
    return Reply(_shown(call, await mend(call.services, _key(call))))


def _key(call: Call) -> SessionKey:
    return SessionKey(call.workspace, call.path["session_id"])


def _shown(call: Call, report: Report) -> dict[str, Any]:
    left = None if report.left is None else [asdict(fault) for fault in report.left]
    return {"session": call.path["session_id"], "found": [asdict(fault) for fault in report.found], "left": left}
