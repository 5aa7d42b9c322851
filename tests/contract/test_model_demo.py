"""The demonstration script, carried out: its tool calls are done for real in a temporary directory."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outrider.models.client import AnthropicModel, http_client
from outrider.models.scripted import running
from outrider.models.scripted.demo import REPORT, WORKSPACE
from outrider.ports.model import ModelCall

pytestmark = pytest.mark.anyio

TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("bash", "write", "read", "edit")]
Tools = Callable[[str, dict[str, Any]], tuple[str, bool]]
Talk = list[dict[str, Any]]


class Hands:
    """Does the calls under `root`, as a sandbox would under /."""

    def __init__(self, root: Path, *, path: str = "/usr/local/bin:/usr/bin:/bin") -> None:
        self.root = root
        self._path = path
        (root / WORKSPACE.lstrip("/")).mkdir(parents=True)

    def __call__(self, name: str, given: dict[str, Any]) -> tuple[str, bool]:
        if name == "bash":
            return self._bash(given["command"]), False
        path = self.root / given["file_path"].lstrip("/")
        if name == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(given["content"])
            return f"wrote {len(given['content'])} bytes to {given['file_path']}", False
        text = path.read_text()
        if name == "read":
            return "\n".join(f"{number:>6}\t{line}" for number, line in enumerate(text.splitlines(), 1)), False
        assert text.count(given["old_string"]) == 1
        path.write_text(text.replace(given["old_string"], given["new_string"]))
        return "1 replacement", False

    def _bash(self, command: str) -> str:
        there = command.replace(WORKSPACE, str(self.root / WORKSPACE.lstrip("/")))
        environment = {"PATH": self._path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(["/bin/sh", "-c", there], capture_output=True, text=True, env=environment, timeout=30)
        return done.stdout + done.stderr


async def converse(tools: Tools, offered: list[dict[str, Any]] = TOOLS) -> Talk:
    """Run the conversation to its end and return all its messages."""
    messages: Talk = [{"role": "user", "content": "Show me."}]
    async with running() as server:
        model = AnthropicModel(server.url, http_client(10))
        for _ in range(12):
            body = {"model": "demo", "max_tokens": 4000, "messages": messages, "tools": offered}
            reply = await model.respond(ModelCall("scripted", body, "s", 1), lambda delta: None)
            messages = [*messages, {"role": "assistant", "content": reply.content}]
            uses = [block for block in reply.content if block["type"] == "tool_use"]
            if not uses:
                break
            messages.append({"role": "user", "content": [result(use, tools) for use in uses]})
        await model.close()
    assert messages[-1]["role"] == "assistant"
    return messages


def result(use: dict[str, Any], tools: Tools) -> dict[str, Any]:
    text, failed = tools(use["name"], use["input"])
    block = {"type": "tool_result", "tool_use_id": use["id"], "content": text or "(no output)"}
    return block | ({"is_error": True} if failed else {})


def calls(messages: Talk) -> list[str]:
    said = [block for message in messages if message["role"] == "assistant" for block in message["content"]]
    return [block["name"] for block in said if block["type"] == "tool_use"]


def last_words(messages: Talk) -> str:
    return messages[-1]["content"][-1]["text"]


async def test_it_writes_tests_mends_and_reports(tmp_path: Path) -> None:
    messages = await converse(Hands(tmp_path))
    assert calls(messages) == ["bash", "write", "write", "bash", "read", "edit", "bash", "write"]
    assert last_words(messages).startswith(
        "Done: a Python package, a failing test, its cause and the fix, in 8 tool calls."
    )
    assert messages[1]["content"][0]["type"] == "thinking"
    report = (tmp_path / REPORT.lstrip("/")).read_text()
    assert "Ran 3 tests" in report
    assert "exit=0" in report


async def test_it_works_with_a_shell_alone(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "sh").symlink_to("/bin/sh")
    messages = await converse(Hands(tmp_path / "root", path=str(commands)))
    assert calls(messages) == ["bash", "write", "write", "bash", "read", "edit", "bash", "write"]
    assert last_words(messages).startswith("Done: a shell package")
    assert "ok: largest of negative numbers" in (tmp_path / "root" / REPORT.lstrip("/")).read_text()


async def test_a_tool_that_fails_is_told_and_ends_the_work(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    messages = await converse(lambda name, given: ("disk full", True) if name == "write" else hands(name, given))
    assert "The `write` tool failed, so I stop here." in last_words(messages)
    assert "disk full" in last_words(messages)


async def test_a_test_that_passes_against_expectation_is_told_as_that(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    messages = await converse(
        lambda name, given: ("OK\nexit=0", False) if "unittest" in str(given) else hands(name, given)
    )
    assert "read" not in calls(messages)
    assert "a test that passed at once" in last_words(messages)
    assert "nothing was mended" in (tmp_path / REPORT.lstrip("/")).read_text()


@pytest.mark.parametrize(
    ("output", "said"),
    [("FAILED (failures=1)\nexit=1", "still fails after my fix"), ("sh: out of memory", "could not be run")],
)
async def test_a_test_that_does_not_pass_is_never_called_a_success(tmp_path: Path, output: str, said: str) -> None:
    hands = Hands(tmp_path)
    messages = await converse(
        lambda name, given: (output, False) if "unittest -v" in str(given) else hands(name, given)
    )
    assert said in last_words(messages)
    assert "Done" not in last_words(messages)


async def test_an_agent_without_the_tools_is_told_what_it_lacks(tmp_path: Path) -> None:
    messages = await converse(Hands(tmp_path), offered=TOOLS[:1])
    assert last_words(messages).endswith("this agent lacks write, read, edit.")


async def test_each_builtin_script_answers() -> None:
    async with running() as server:
        model = AnthropicModel(server.url, http_client(10))
        texts: dict[str, str] = {}
        for name in ("echo", "think", "tools", "refuse"):
            body: dict[str, Any] = {"model": name, "max_tokens": 400, "tools": TOOLS}
            body["messages"] = [{"role": "user", "content": 'bash: ls\nread: {"file_path": "/a"}'}]
            reply = await model.respond(ModelCall("scripted", body, "s", 1), lambda delta: None)
            texts[name] = reply.stop_reason + str([block.get("input") for block in reply.content])
        await model.close()
    assert texts == {
        "echo": "end_turn[None]",
        "think": "end_turn[None, None]",
        "tools": "tool_use[None, {'command': 'ls'}, {'file_path': '/a'}]",
        "refuse": "refusal[]",
    }
