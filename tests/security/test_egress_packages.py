"""Package managers in sandboxes with limited networking: their hosts are learned by `doctor`, and then let in."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from live_server import Server, Stage, data_directory, serving
from registries import registries
from session_talk import Talk
from turns import TOOLSET, every, said, text_of

from outrider.cli.package_config import table, with_hosts
from outrider.models.scripted.script import Request, ToolUse, Turn

DIRECT = "export no_proxy= NO_PROXY=; "  # the stand-ins are on loopback, which clients would not ask the proxy for


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Generator[int]:
    with registries(tmp_path_factory.mktemp("registries")) as port:
        yield port


@pytest.fixture
def data(port: int) -> Generator[Path]:
    with data_directory() as data:
        config = f'[egress]\nallow_private = ["127.0.0.1:{port}"]\n\n[limits]\nheartbeat = 0.5\nreserve_share = 0\n'
        (data / "config.toml").write_text(config + "reserve_bytes = 0\n")
        yield data


def doctor(
    data: Path, port: int, *more: str, agreed: str = "", managers: tuple[str, ...] = ("pip",)
) -> subprocess.CompletedProcess[str]:
    variables = [f"PIP_INDEX_URL=http://localhost:{port}/simple", f"npm_config_registry=http://localhost:{port}/"]
    words = [word for text in (*variables, "no_proxy=", "NO_PROXY=") for word in ("--set", text)]
    words += [word for manager in managers for word in ("--manager", manager)]
    words += ["--example", "pip=demo-pip", "--example", "npm=demo-npm"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    command = [sys.executable, "-m", "outrider", "doctor", "--learn-package-hosts", "--data", str(data), *words, *more]
    return subprocess.run(command, env=clean, input=agreed, capture_output=True, text=True, timeout=100, check=False)


def command_of(request: Request) -> Turn:
    """The model runs what the last message says."""
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


def ran(server: Server, networking: dict[str, Any], command: str) -> str:
    with server.client() as client:
        tools: Any = [TOOLSET]
        agent = client.beta.agents.create(name="tester", model="scripted-one", tools=tools)
        config: Any = {"type": "cloud", "networking": {"type": "limited", **networking}}
        environment = client.beta.environments.create(name="tests", config=config)
        session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
        talk = Talk(client, session.id)
        return text_of(every(said(talk, DIRECT + command), "agent.tool_result")[-1])


def test_what_doctor_has_learned_lets_package_managers_work_with_limited_networking(data: Path, port: int) -> None:
    first = doctor(data, port, agreed="n\n")
    assert "nothing was changed" in first.stdout, first.stdout + first.stderr
    assert "package_hosts" not in (data / "config.toml").read_text()
    learned = doctor(data, port, "--yes", managers=("pip", "npm"))
    assert learned.returncode == 0, learned.stdout + learned.stderr
    assert tomllib.loads((data / "config.toml").read_text())["egress"]["package_hosts"] == {
        "npm": ["localhost"],
        "pip": ["localhost"],
    }
    index, registry = f"http://localhost:{port}/simple", f"http://localhost:{port}/"
    pip = f"python3 -m pip install -q --no-cache-dir --target t --index-url {index} demo-pip && python3 t/demo_pip.py"
    npm = f"npm install --silent --registry {registry} demo-npm && node -e \"require('demo-npm')\""
    git = f"git clone -q http://localhost:{port}/demo.git && cat demo/README"
    with Stage().open() as stage:
        stage.put("scripted-one", decide=command_of)
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config="") as server:
            assert "hello from pip" in ran(server, {"allow_package_managers": True}, f"cd /tmp && {pip}")
            assert "hello from npm" in ran(server, {"allow_package_managers": True}, f"mkdir n && cd n && {npm}")
            assert ran(server, {"allowed_hosts": ["localhost"]}, git) == "hello from git"
            elsewhere = {"allowed_hosts": ["other.example"]}
            assert "No matching distribution" in ran(server, elsewhere, f"{pip} 2>&1")
            assert "403" in ran(server, elsewhere, f"{git} 2>&1")


def test_a_client_that_fails_teaches_nothing(data: Path, port: int) -> None:
    found = doctor(data, port, "--example", "pip=not-there", "--yes", managers=("pip", "npm"))
    assert "FAIL pip: its client failed" in found.stdout
    assert "not-there" in found.stdout
    assert found.returncode == 1
    hosts = tomllib.loads((data / "config.toml").read_text())["egress"]["package_hosts"]
    assert hosts == {"npm": ["localhost"]}


def test_a_host_at_a_private_address_is_named_with_what_would_let_it_in(data: Path, port: int) -> None:
    (data / "config.toml").write_text("[limits]\nreserve_share = 0\nreserve_bytes = 0\n")
    found = doctor(data, port, "--yes")
    assert "localhost was not reached: localhost is at a loopback address, which [egress] allow_private" in found.stdout
    assert "package_hosts" not in (data / "config.toml").read_text()


BEFORE = """\
# mine
[egress]
idle_timeout = 5

[egress.package_hosts]  # of ours
# the mirror
pip = [
  "b.example",
]
go = ["g.example"]

[limits]
heartbeat = 1
"""


def test_the_config_file_keeps_all_else_and_what_was_there_before() -> None:
    after = with_hosts(BEFORE, {"pip": ["a.example"], "npm": ["n.example"]})
    assert after is not None
    assert after.startswith("# mine\n[egress]\nidle_timeout = 5\n\n[egress.package_hosts]\n")
    assert "# the mirror" in after
    assert after.endswith("\n[limits]\nheartbeat = 1\n")
    assert tomllib.loads(after)["egress"]["package_hosts"] == {
        "go": ["g.example"],
        "npm": ["n.example"],
        "pip": ["a.example", "b.example"],
    }
    assert with_hosts(after, {"pip": ["a.example"]}) is not None
    assert with_hosts("", {"pip": ["a.example"]}) == table({"pip": ["a.example"]})
    assert with_hosts("[egress]\npackage_hosts = {}\n", {"pip": ["a.example"]}) is None
    assert with_hosts("[egress]\npackage_hosts.pip = []\n", {"pip": ["a.example"]}) is None
