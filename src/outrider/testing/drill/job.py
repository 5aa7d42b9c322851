"""The scripted sessions of a drill: what the model says, and what the agent's commands must have done in the end.

Each call writes a mark of its own into a file of the workspace; at the end the session counts them itself, so that the
count is in its log.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from outrider.models.scripted.history import result_text, rounds
from outrider.models.scripted.script import Request, Script, ToolUse, Turn
from outrider.ports.log import Row

MODEL = "drill"
COUNT = "count"
COMMAND = "sort marks 2>/dev/null | uniq -c"
PAUSE = 0.3
DELAY = 0.05
_MARK = re.compile(r"echo (\S+) >> marks")
_COUNTED = re.compile(r"^\s*(\d+) (\S+)\s*$", re.MULTILINE)


def said(number: int) -> str:
    """The message that begins round `number` of a session."""
    return f"round {number}"


def _decide(request: Request) -> Turn:
    asked, done = request.last_text(), rounds(request)
    if asked == COUNT:
        return Turn(done[-1][0].text or "(none)") if done else Turn(ToolUse("bash", {"command": COMMAND}))
    if done:
        return Turn(f"{asked} is over.", chunk=4, delay=DELAY)
    name = asked.replace(" ", "-")
    return Turn(
        "Two commands.",
        ToolUse("bash", {"command": f"echo {name}-a >> marks; sleep {PAUSE}"}),
        ToolUse("bash", {"command": f"echo {name}-b >> marks"}),
        chunk=4,
        delay=DELAY,
    )


SCRIPT = Script(_decide)


def effects(rows: Sequence[Row]) -> list[str]:
    """What is wrong with a finished session's side effects: a mark made twice, or one that a result says was made and
    that isn't there. A mark of a call that ended in an error may or may not be there."""
    bodies = [json.loads(row.body) | {"id": row.id} for row in rows if row.public]
    uses = {body["id"]: body["input"].get("command", "") for body in bodies if body["type"] == "agent.tool_use"}
    results = [body for body in bodies if body["type"] == "agent.tool_result"]
    counted = _last_count(uses, results)
    if counted is None:
        return ["the session's own count of its marks is missing"]
    wrong = [f"mark {mark} was made {count} times" for mark, count in counted.items() if count > 1]
    for result in results:
        mark = _MARK.search(uses.get(result["tool_use_id"], ""))
        if mark and not result.get("is_error") and not counted[mark[1]]:
            wrong.append(f"mark {mark[1]} is missing, although its call succeeded")
    return wrong


def _last_count(uses: dict[str, str], results: Sequence[dict[str, Any]]) -> Counter[str] | None:
    for result in reversed(results):
        if uses.get(result["tool_use_id"]) == COMMAND and not result.get("is_error"):
            text = result_text(result)
            return Counter({mark: int(count) for count, mark in _COUNTED.findall(text)})
    return None
