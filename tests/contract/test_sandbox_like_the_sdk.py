"""The tools answer like those of the official SDK, which self-hosted workers run: the same calls go to both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic.lib.tools._beta_functions import ToolError, aclose_runnable_tool
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401

from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_suite import Hands

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("bash", {"command": "echo out; echo err >&2"}),
    ("bash", {"command": "cd /tmp; x=1"}),
    ("bash", {"command": 'echo "$PWD $x"; cd - > /dev/null'}),
    ("bash", {"command": "echo some; false"}),
    ("bash", {"command": r"printf '\033[31mred\033[0m\n\n'"}),
    ("bash", {"command": "cat"}),
    ("bash", {"command": "echo {1..3} | tr ' ' '\\n' | tail -n 1; (exit 4)"}),
    ("bash", {"restart": True}),
    ("bash", {"command": 'echo "${x-unset}"'}),
    ("bash", {}),
    ("write", {"file_path": "a/b.txt", "content": "one\ntwo\nthree\n"}),
    ("write", {"file_path": "a/c.txt", "content": "no newline"}),
    ("read", {"file_path": "a/b.txt"}),
    ("read", {"file_path": "a/b.txt", "view_range": [1, 2]}),
    ("read", {"file_path": "a/b.txt", "view_range": [2, 3]}),
    ("read", {"file_path": "a/b.txt", "view_range": [2, 4]}),
    ("read", {"file_path": "a/b.txt", "view_range": [3, -1]}),
    ("read", {"file_path": "a/b.txt", "view_range": [9, 12]}),
    ("read", {"file_path": "a/b.txt", "view_range": [3, 2]}),
    ("read", {"file_path": "a/b.txt", "view_range": [0, 1]}),
    ("read", {"file_path": "a/c.txt", "view_range": [1, 1]}),
    ("read", {"file_path": "missing"}),
    ("read", {"file_path": "a/b.txt/c"}),
    ("edit", {"file_path": "a/b.txt", "old_string": "two", "new_string": "2"}),
    ("edit", {"file_path": "a/b.txt", "old_string": "absent", "new_string": "2"}),
    ("edit", {"file_path": "a/b.txt", "old_string": "e", "new_string": "E"}),
    ("edit", {"file_path": "a/b.txt", "old_string": "e", "new_string": "E", "replace_all": True}),
    ("edit", {"file_path": "missing", "old_string": "a", "new_string": "b"}),
    ("read", {"file_path": "a/b.txt"}),
    ("bash", {"command": "touch -d 2020-01-01 a/c.txt; touch -d 2021-01-01 a/b.txt; touch -d 2022-01-01 a"}),
    ("glob", {"pattern": "**/*.txt"}),
    ("glob", {"pattern": "*"}),
    ("glob", {"pattern": "*.txt", "path": "a"}),
    ("glob", {"pattern": "*.none"}),
    ("grep", {"pattern": "thr.."}),
    ("grep", {"pattern": "^on", "path": "a"}),
    ("grep", {"pattern": "newline", "path": "a/c.txt"}),
    ("grep", {"pattern": "absent"}),
    ("grep", {"pattern": "("}),
    ("bash", {"command": "head -c 300000 /dev/zero | tr '\\0' a > big; printf '\\377' > bad; printf PNG > p.png"}),
    ("read", {"file_path": "big"}),
    ("read", {"file_path": "bad"}),
    ("read", {"file_path": "p.png"}),
    ("read", {"file_path": "p.png", "view_range": [1, 2]}),
    ("edit", {"file_path": "big", "old_string": "a", "new_string": "b"}),
]
DIFFERS = {
    # ours says more: (the SDK's text, ours)
    json.dumps(["bash", {}]): ("bash: command is required", "bash: command is required, unless restart is true"),
}


@pytest.fixture(scope="module")
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost()
    host.start()
    yield host
    await host.close()


async def sdk_answer(tool: Any, given: dict[str, Any], place: Path) -> tuple[list[Any] | str, bool]:
    try:
        found, is_error = await tool.call(given), False
    except ToolError as error:
        found, is_error = error.content, True
    return found.replace(str(place), "/workspace") if isinstance(found, str) else list(found), is_error


@pytest.mark.anyio
async def test_the_same_calls_get_the_same_answers(host: SandboxHost, tmp_path: Path) -> None:
    hands = Hands(host.driver(), "sesn_sdk")
    async with AgentToolContext(workdir=tmp_path) as context:
        tools: dict[str, Any] = {tool.name: tool for tool in beta_agent_toolset_20260401(context)}
        for name, given in CALLS:
            expected, failed = await sdk_answer(tools[name], given, tmp_path)
            outcome = await hands.outcome(name, given)
            texts = [block.get("text") for block in outcome.content]
            found = texts[0] if isinstance(expected, str) else outcome.content
            said = DIFFERS.get(json.dumps([name, given]), (expected or "(no output)",) * 2)
            assert (said[0], failed) == (expected or "(no output)", outcome.is_error), (name, given)
            assert found == said[1], (name, given)
        await aclose_runnable_tool(tools["bash"])
