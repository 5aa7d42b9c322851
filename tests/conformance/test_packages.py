"""An environment's packages, through the whole server: installed once from registries on loopback, there for each of
its sessions, and said clearly when they can't be had."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from registries import Gate, registries
from session_talk import Talk
from turns import TOOLSET, every, refused, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn

CONFIG = """
[egress]
allow_private = ["127.0.0.1:{port}"]

[egress.package_hosts]
pip = ["localhost"]
npm = ["localhost"]

apt = ["localhost"]

[packages.environment]
APT_SOURCES = "deb [trusted=yes] http://localhost:{port}/deb ./"
PIP_CONFIG_FILE = "/dev/null"
PIP_INDEX_URL = "http://localhost:{port}/simple"
npm_config_registry = "http://localhost:{port}/"
no_proxy = ""
NO_PROXY = ""

[limits]
heartbeat = 0.5
reserve_share = 0
reserve_bytes = 0
"""
PATIENCE = 60.0  # on a busy machine two managers' clients take a while to start
pytestmark = pytest.mark.timeout(150)
USE = "python3 -c 'import demo_pip'; node -e \"require('demo-npm')\""
WORKS = "hello from pip\nhello from npm"


def seen(program: str) -> bool:
    """Whether sandboxes see it."""
    return shutil.which(program, path="/usr/local/bin:/usr/bin:/bin") is not None


def command_of(request: Request) -> Turn:
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        stage.put("does", decide=command_of)
        yield stage


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def server(stage: Stage, gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    with registries(tmp_path_factory.mktemp("registries"), gate) as port, data_directory() as data:
        (data / "config.toml").write_text(CONFIG.format(port=port))
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config="") as server:
            yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Generator[Anthropic]:
    with server.client() as client:
        yield client


def environment(client: Anthropic, networking: Any = None, **packages: list[str]) -> str:
    config: Any = {"type": "cloud", "networking": networking, "packages": {"type": "packages", **packages}}
    return client.beta.environments.create(name="packages", config=config).id


def listed(made: Any, manager: str) -> list[str]:
    return made.config.to_dict()["packages"][manager]


def session(client: Anthropic, environment_id: str) -> Talk:
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="user", model="does", tools=tools)
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment_id).id)


def answer(talk: Talk, command: str) -> str:
    talk.say(command)
    talk.wait(seconds=PATIENCE)
    return text_of(every(talk.history(), "agent.tool_result")[-1])


def layers(server: Server) -> list[Path]:
    return sorted(path for path in (server.data / "sandboxes" / "layers").iterdir() if path.is_dir())


@requirement("environments:packages:install")
def test_packages_are_installed_once_and_there_for_each_session_of_the_environment(
    client: Anthropic, server: Server, stage: Stage
) -> None:
    made = environment(client, npm=["demo-npm"], pip=["demo-pip==1.0"])
    first = session(client, made)
    assert answer(first, USE) == WORKS
    built = layers(server)
    kept = [json.loads((layer / "about.json").read_text()) for layer in built]
    assert sorted((one["manager"], one["resolved"]) for one in kept) == [
        ("npm", ["demo-npm@1.0.0"]),
        ("pip", ["demo-pip==1.0"]),
    ]
    inodes = [layer.stat().st_ino for layer in built]
    other = session(client, made)
    assert answer(other, USE) == WORKS
    assert [layer.stat().st_ino for layer in layers(server)] == inodes
    assert "cannot touch" in answer(other, "touch /opt/pip/demo_pip.py 2>&1; true")
    told = json.dumps(stage.requests("does")[-1]["system"])
    assert "- pip: demo-pip==1.0" in told
    left = [path.name for path in (server.data / "sandboxes" / "sessions").iterdir() if path.name.startswith("bld-")]
    assert left == []


def test_packages_that_cannot_be_had_are_named_with_what_their_manager_said(client: Anthropic) -> None:
    talk = session(client, environment(client, pip=["demo-pip==9.9"]))
    refusal = answer(talk, "touch ran")
    assert "The environment's packages could not be installed. pip (demo-pip==9.9) said:" in refusal
    assert "No matching distribution found for demo-pip==9.9" in refusal
    assert "The call was not run." in refusal
    assert every(talk.history(), "agent.tool_result")[-1].is_error


def test_an_interrupt_is_heard_while_packages_are_installed_which_goes_on(client: Anthropic, gate: Gate) -> None:
    talk = session(client, environment(client, pip=["demo-pip>=0.5"]))
    gate.close()
    try:
        talk.say("true")
        assert gate.came.wait(30)
        talk.send({"type": "user.interrupt"})
        talk.wait(seconds=PATIENCE)
    finally:
        gate.open()
    assert "interrupted" in text_of(every(talk.history(), "agent.tool_result")[-1])
    asked = gate.asked
    assert answer(talk, "python3 -c 'import demo_pip'") == "hello from pip"
    assert gate.asked == asked


@pytest.mark.skipif(not (seen("apt-get") and seen("dpkg-deb")), reason="there is no apt here")
def test_packages_of_apt_are_laid_over_the_system_and_beneath_those_of_others(
    client: Anthropic, server: Server
) -> None:
    talk = session(client, environment(client, apt=["demo-deb=1.0"], pip=["demo-pip"]))
    assert answer(talk, f"demo-deb; {USE.partition(';')[0]}; ls /etc/outrider /bin/bash") == (
        "hello from apt\nhello from pip\n/bin/bash\n\n/etc/outrider:"
    )
    kept = [json.loads((layer / "about.json").read_text()) for layer in layers(server)]
    assert [one["resolved"] for one in kept if one["manager"] == "apt"] == [["demo-deb=1.0"]]
    missing = answer(session(client, environment(client, apt=["demo-none"])), "true")
    assert "Unable to locate package demo-none" in missing


ABSENT = [manager for manager, program in (("cargo", "cargo"), ("gem", "gem"), ("go", "go")) if not seen(program)]


@pytest.mark.skipif(not ABSENT, reason="every package manager is installed here")
def test_a_manager_that_the_server_lacks_is_named_with_what_would_bring_it(client: Anthropic) -> None:
    names = {"cargo": "ripgrep", "gem": "rake", "go": "example.com/tool"}
    refusal = answer(session(client, environment(client, **{ABSENT[0]: [names[ABSENT[0]]]})), "true")
    assert f"{ABSENT[0]} is not there on this server. Its operator can install it" in refusal
    assert "apt install" in refusal


@requirement("environments:packages:limited")
def test_packages_with_limited_networking_need_allow_package_managers(client: Anthropic) -> None:
    closed = {"type": "limited", "allowed_hosts": ["localhost"]}
    with refused(400, "config.packages.pip", "config.networking.allow_package_managers"):
        environment(client, closed, pip=["demo-pip"])
    open_one = environment(client, {**closed, "allow_package_managers": True}, pip=["demo-pip==1.0"])
    assert answer(session(client, open_one), "python3 -c 'import demo_pip'") == "hello from pip"
    without: Any = {"type": "cloud", "networking": {"type": "limited", "allow_package_managers": False}}
    with refused(400, "config.packages.pip", "config.networking.allow_package_managers"):
        client.beta.environments.update(open_one, config=without)


@requirement("environments:update:later-sandboxes")
def test_a_change_of_packages_reaches_sandboxes_made_later_only(client: Anthropic) -> None:
    made = environment(client)
    before = session(client, made)
    look = "python3 -c 'import demo_pip' 2>&1 | tail -1; echo $$"
    missing, shell = answer(before, look).split("\n")
    assert "No module named 'demo_pip'" in missing
    config: Any = {"type": "cloud", "packages": {"type": "packages", "pip": ["demo-pip==1.0"]}}
    changed = client.beta.environments.update(made, config=config)
    assert listed(changed, "pip") == ["demo-pip==1.0"]
    assert answer(before, look).split("\n") == [missing, shell]
    assert answer(session(client, made), look).startswith("hello from pip")


FORMS = [
    ("apt", ["jq=1.6-2.1+deb12u1", "g++", "libc6:amd64"]),
    ("pip", ["pandas==2.1", "httpx[http2,cli] >=0.27, <1", "zope.interface", "a~=1.0"]),
    ("npm", ["express@4.18.0", "@types/node@^20", "typescript@latest", "lodash"]),
    ("cargo", ["ripgrep@14.0.0", "cargo-edit"]),
    ("gem", ["rails:7.1.0", "rake"]),
    ("go", ["go.example.org/x/tools/cmd/goimports@latest", "example.com/tool"]),
]
BAD = [
    ("apt", "-o=Dpkg::Pre-Invoke::=id"),
    ("apt", "bash-"),
    ("apt", "./x.deb"),
    ("apt", "jq/stable"),
    ("pip", "--index-url=http://evil.example"),
    ("pip", "git+https://evil.example/x"),
    ("pip", "./local"),
    ("pip", "a; echo b"),
    ("pip", "a @ file:///etc/passwd"),
    ("pip", ""),
    ("pip", "a" * 201),
    ("npm", "https://evil.example/x.tgz"),
    ("npm", "../x"),
    ("npm", "a@npm:b"),
    ("npm", "-g"),
    ("npm", "owner/repo"),
    ("cargo", "--git"),
    ("cargo", "a b"),
    ("gem", "-v"),
    ("gem", "a:$(id)"),
    ("go", "./cmd"),
    ("go", "example.com/../x"),
    ("go", "tool"),
]


@pytest.mark.parametrize(("manager", "packages"), FORMS)
def test_a_package_may_be_pinned_in_its_managers_own_form(client: Anthropic, manager: str, packages: list[str]) -> None:
    made = client.beta.environments.retrieve(environment(client, **{manager: packages}))
    assert listed(made, manager) == packages


@pytest.mark.parametrize(("manager", "package"), BAD)
def test_what_is_no_plain_package_is_refused_by_its_place(client: Anthropic, manager: str, package: str) -> None:
    good = next(packages for name, packages in FORMS if name == manager)
    with refused(400, f"config.packages.{manager}.{len(good)}: Input should be a package of {manager}"):
        environment(client, **{manager: [*good, package]})


def test_a_manager_takes_a_hundred_packages(client: Anthropic) -> None:
    environment(client, pip=[f"p{number}" for number in range(100)])
    with refused(400, "config.packages.pip: List should have at most 100 items"):
        environment(client, pip=[f"p{number}" for number in range(101)])
