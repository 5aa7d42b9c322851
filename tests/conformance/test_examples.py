"""Every program in `examples/`, unmodified and as a process of its own, against a real server and a scripted model."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from programs import SECONDS, lines_of
from workers import environment_of, key_of, own_mnt

from conformance.requirements import requirement
from outrider.models.scripted.builtin import SCRIPTS
from outrider.models.scripted.script import Answer, Request, Text, ToolUse, Turn

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(server: Server, name: str, **environment: str) -> list[str]:
    """The lines that the example prints, once it has ended well."""
    return lines_of([sys.executable, str(EXAMPLES / name)], server, EXAMPLES, environment)


def test_no_example_is_without_a_test() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert programs == set(re.findall(r'(?:run|started)\(server, "(\w+\.py)"', Path(__file__).read_text()))


def test_the_first_session_shows_each_step_of_the_work(server: Server, stage: Stage, model_name: str) -> None:
    write = ToolUse("write", {"file_path": "/workspace/total.py", "content": "def total(xs): return sum(xs)\n"})
    check = ToolUse("bash", {"command": "cd /workspace && ls total.py"})
    stage.put(model_name, Turn("I write it.", write), Turn(check), Turn(Text("The test passes.")))
    assert run(server, "first_session.py", EXAMPLE_MODEL=model_name) == [
        "agent: I write it.",
        f"calls: write {dict(write.input)}"[: len("calls: write ") + 100],
        f"calls: bash {dict(check.input)}",
        "agent: The test passes.",
        "done: end_turn",
    ]


def test_the_custom_tool_answers_what_the_model_asks(server: Server, stage: Stage, model_name: str) -> None:
    def decide(request: Request) -> Answer:
        if request.replies == 0:
            return Turn(ToolUse("stock_level", {"article": "apple"}))
        (answer,) = (block for block in request.messages[-1]["content"] if block["type"] == "tool_result")
        return Turn(f"We have {answer['content'][0]['text']}.")

    stage.put(model_name, decide=decide)
    assert run(server, "custom_tool.py", EXAMPLE_MODEL=model_name) == [
        "tool: apple -> 12 boxes",
        "agent: We have 12 boxes.",
        "done: end_turn",
    ]


def test_approve_and_deny_lets_looking_through_and_no_deleting(server: Server, stage: Stage, model_name: str) -> None:
    both = Turn(ToolUse("bash", {"command": "ls /workspace"}), ToolUse("bash", {"command": "rm -rf /workspace/x"}))

    def decide(request: Request) -> Answer:
        if request.replies == 0:
            return both
        looked, deleted = (block for block in request.messages[-1]["content"] if block["type"] == "tool_result")
        assert not looked.get("is_error")
        return Turn(f"Well: {deleted['content'][0]['text']}")

    stage.put(model_name, decide=decide)
    assert run(server, "approve_and_deny.py", EXAMPLE_MODEL=model_name) == [
        "allowed: ls /workspace",
        "denied: rm -rf /workspace/x",
        "agent: Well: Permission to use bash has been denied. The user said: Nothing may be deleted.",
        "done: end_turn",
    ]


def test_an_interrupt_redirects_the_agent_in_the_middle_of_a_command(
    server: Server, stage: Stage, model_name: str
) -> None:
    def decide(request: Request) -> Answer:
        if "hello" in request.last_text():
            return Turn("Hello.")
        return Turn(ToolUse("bash", {"command": "sleep 600"}))

    stage.put(model_name, decide=decide)
    lines = run(server, "interrupt_and_redirect.py", EXAMPLE_MODEL=model_name)
    assert lines[:2] == ["calls: bash {'command': 'sleep 600'}", "you: stop, do something else"]
    assert lines[2].startswith("result: Tool execution was interrupted")
    assert lines[3:] == ["agent: Hello.", "status: idle"]


def test_live_text_ends_in_the_stored_event(server: Server, stage: Stage, model_name: str) -> None:
    stage.put(model_name, Turn("Once upon a time.", chunk=3, delay=0.01))
    assert run(server, "live_text.py", EXAMPLE_MODEL=model_name) == ["Once upon a time.", "stored: Once upon a time."]


def test_two_models_answer_from_two_endpoints_of_one_server() -> None:
    config = """
[endpoints.a]
base_url = "{a}"
auth = "none"
models = ["alpha"]

[endpoints.b]
base_url = "{b}"
auth = "none"
models = ["beta"]
"""
    with Stage().open() as first, Stage().open() as second, data_directory() as data:
        first.put("alpha", Turn("I am alpha."))
        second.put("beta", Turn("I am beta."))
        with serving(data, {}, config=config.format(a=first.url, b=second.url)) as server:
            lines = run(server, "two_models.py", EXAMPLE_MODELS="alpha,beta")
        assert lines == ["alpha: I am alpha.", "beta: I am beta."]
        assert len(first.requests("alpha")) == len(second.requests("beta")) == 1
        assert not first.requests("beta")
        assert not second.requests("alpha")


@contextmanager
def started(server: Server, name: str, *before: str, **environment: str) -> Generator[None]:
    """The example in the background, by way of the program `before`, until the block ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    process = subprocess.Popen(
        [*before, sys.executable, str(EXAMPLES / name)], env=clean | {"ANTHROPIC_BASE_URL": server.url} | environment
    )
    try:
        yield
        assert process.poll() is None, "it ended by itself"
    finally:
        process.kill()
        process.wait(SECONDS)


@requirement("helpers:environment-worker")
def test_the_worker_serves_a_session_with_a_skill_memory_and_a_tool_of_its_own(
    server: Server, stage: Stage, client: Anthropic, model_name: str, tmp_path: Path
) -> None:
    """Where it may make the directories of memory stores: a `/mnt` of its own."""
    stage.put(model_name, decide=SCRIPTS["tools"])
    environment = environment_of(client)
    place = {"ANTHROPIC_ENVIRONMENT_ID": environment}
    own = {"ANTHROPIC_ENVIRONMENT_KEY": key_of(client, environment), "WORKER_DIRECTORY": str(tmp_path)}
    with started(server, "worker.py", *own_mnt(), **place, **own, WORKER_MAX_IDLE="0.2"):
        lines = run(server, "self_hosted_session.py", EXAMPLE_MODEL=model_name, **place)
    assert lines[:4] == ["agent: Calling 3 tool(s).", "calls: read", "calls: machine", "calls: bash"]
    assert "Say good morning, and write down for whom." in "\n".join(lines)
    assert f"machine said: {platform.system()} on {platform.machine()}" in lines
    assert lines[-3:] == ["bash said: Ada likes to be greeted first.", "done: end_turn", "remembered: /today.md"]
