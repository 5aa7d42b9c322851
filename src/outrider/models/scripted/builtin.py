"""The scripts that are offered as `scripted/<name>`. Each is a pure function of the request."""

from __future__ import annotations

import json
import re
from typing import Any

from outrider.models.scripted.demo import demo
from outrider.models.scripted.history import rounds
from outrider.models.scripted.script import Answer, Request, Script, Thinking, ToolUse, Turn

CHUNK = 16


def echo(request: Request) -> Turn:
    """Says what the user said."""
    return Turn(request.last_text() or "(nothing)", chunk=CHUNK)


def think(request: Request) -> Turn:
    """Thinks about what the user said, then says it."""
    text = request.last_text() or "(nothing)"
    return Turn(Thinking(f"The user said {len(text)} characters. I repeat them."), text, chunk=CHUNK)


def refuse(request: Request) -> Turn:
    """Declines."""
    details = {"type": "refusal", "category": None, "explanation": "The scripted model `refuse` declines everything."}
    return Turn(stop_reason="refusal", stop_details=details)


def tools(request: Request) -> Turn:
    """Calls the tools that the user's lines name (`bash: echo hi`, `read: {...}`), then tells the results."""
    done = rounds(request)
    if done:
        told = [f"{call.name} {'failed' if call.failed else 'said'}: {call.text}" for call in done[-1]]
        return Turn("\n".join(told), chunk=CHUNK)
    uses = [use for line in request.last_text().splitlines() if (use := _use(line, request.tools))]
    if not uses:
        return Turn("Name a tool on a line of its own, such as `bash: echo hello`.", chunk=CHUNK)
    return Turn(f"Calling {len(uses)} tool(s).", *uses, chunk=CHUNK)


def _use(line: str, offered: list[str]) -> ToolUse | None:
    match = re.fullmatch(r"\s*([a-zA-Z0-9_-]+):\s*(.+?)\s*", line)
    if match is None or match[1] not in offered:
        return None
    return ToolUse(match[1], _input(match[2]))


def _input(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {"command": text}
    try:
        return json.loads(text)
    except ValueError:
        return {"command": text}


SCRIPTS = {"demo": demo, "echo": echo, "tools": tools, "think": think, "refuse": refuse}


def _decide(request: Request) -> Answer:
    return SCRIPTS[request.model](request)


BUILTIN = Script(_decide, models=tuple(SCRIPTS))
