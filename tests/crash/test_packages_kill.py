"""Kills whoever stands around each step of a session's packages into its sandbox. The session has them in the end, its
command ran once, and nothing half installed is in use."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from kill_matrix import EQUIPS
from kill_stores import Database
from killing import killed_at
from live_server import KEY, Stage, data_directory
from matrix_tree import Tree
from registries import registries
from session_talk import Talk
from turns import every, text_of

from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.testing.invariants import check
from outrider.testing.stops import Stops

POINTS = sorted(f"{place}.{when}" for place in EQUIPS for when in ("before", "after"))
PACKAGES = ("demo-pip==1.0", "demo-pip>=1.0", "demo-pip<2", "demo-pip~=1.0")
"""One thing to install, but a layer each."""
CONFIG = """
[egress]
allow_private = ["127.0.0.1:{port}"]

[egress.package_hosts]
pip = ["localhost"]

[packages.environment]
PIP_CONFIG_FILE = "/dev/null"
PIP_INDEX_URL = "http://localhost:{port}/simple"
no_proxy = ""
NO_PROXY = ""

[limits]
backoff_first = 0.1
backoff_most = 0.5
reserve_share = 0
reserve_bytes = 0
"""
COMMAND = "echo once >> count; python3 -c 'import demo_pip'; cat count"


def commands(request: Request) -> Turn:
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


class Scene:
    def __init__(self, tree: Tree, stops: Stops, database: Database) -> None:
        self.tree = tree
        self.stops = stops
        self.database = database
        self.client = anthropic.Anthropic(base_url=tree.url, api_key=KEY, max_retries=8, timeout=20.0)
        tools: Any = [{"type": "agent_toolset_20260401"}]
        self.agent = self.client.beta.agents.create(name="killed", model="killed", tools=tools).id

    def play(self, package: str) -> Talk:
        config: Any = {"type": "cloud", "packages": {"type": "packages", "pip": [package]}}
        environment = self.client.beta.environments.create(name="killed", config=config).id
        talk = Talk(self.client, self.client.beta.sessions.create(agent=self.agent, environment_id=environment).id)
        talk.say(COMMAND)
        talk.wait(seconds=60.0)
        return talk


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Generator[Scene]:
    place = tmp_path_factory.mktemp("registries")
    with registries(place) as port, Stage().open() as stage, data_directory() as data, Stops() as stops:
        stage.put("killed", decide=commands)
        data.rmdir()
        keys = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        tree = Tree(data, keys | database.environment, stops, CONFIG.format(port=port))
        try:
            tree.start()
            tree.until_up()
            tree.until_settled()
            made = Scene(tree, stops, database)
            yield made
            made.client.close()
        finally:
            tree.stop()


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("point", "package"), list(zip(POINTS, PACKAGES, strict=True)))
def test_whoever_is_killed_there_the_session_has_its_packages_whole(scene: Scene, point: str, package: str) -> None:
    with killed_at(scene.stops, point):
        talk = scene.play(package)
    (found,) = every(talk.history(), "agent.tool_result")
    assert text_of(found) == "hello from pip\nonce"
    assert not every(talk.history(), "session.error")
    assert check(scene.database.rows(scene.tree.data, talk.id), acknowledged=[]) == []
