"""Kills whoever stands around each step of a repository's way into a session: its token's to the vault, the reading
before the first model request, the checkout. The session has its repository in the end, and each command ran once."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from git_server import GitServer
from kill_matrix import MOUNTS
from kill_stores import Database
from killing import killed_at
from live_server import KEY, Stage, data_directory
from matrix_tree import Tree
from session_talk import Talk
from turns import every, said, text_of

from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.invariants import check
from outrider.testing.stops import Stops
from outrider.vault.authority import Authority

POINTS = sorted(f"{place}.{when}" for place in MOUNTS for when in ("before", "after"))
TOKEN = "canary-killed-77aa01"
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
CONFIG = """
[egress]
allow_private = ["127.0.0.1:{port}"]

[git.hosts.tests]
url = "https://localhost:{port}"
"""


class Scene:
    def __init__(self, tree: Tree, stops: Stops, database: Database, url: str) -> None:
        self.tree = tree
        self.stops = stops
        self.database = database
        self.url = url
        self.client = anthropic.Anthropic(base_url=tree.url, api_key=KEY, max_retries=8, timeout=20.0)
        self.agent = self.client.beta.agents.create(name="killed", model="killed", tools=TOOLSET).id
        self.environment = self.client.beta.environments.create(name="killed").id

    def play(self, title: str) -> Talk:
        """One session, from its creation to rest. No two have one title: a retry is known by what it asks."""
        resources: Any = [{"type": "github_repository", "url": self.url, "authorization_token": TOKEN}]
        made = self.client.beta.sessions.create(
            agent=self.agent, environment_id=self.environment, resources=resources, title=title
        )
        talk = Talk(self.client, made.id)
        said(talk, "go")
        return talk


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, database: Database) -> Generator[Scene]:
    place = tmp_path_factory.mktemp("git")
    outside = Authority(place)
    host = GitServer(place / "repositories")
    host.make("team/app", TOKEN, {"README": "hello\n"})
    with (
        host.serving(outside.context("localhost")),
        Stage().open() as stage,
        data_directory() as data,
        Stops() as stops,
    ):
        trusted = data.parent / "trusted.pem"
        trusted.write_text(outside.certificate)
        trusted.chmod(0o644)
        command = "echo once >> count; cat app/README count"
        stage.put("killed", Turn(ToolUse("bash", {"command": command})), Turn("Done."))
        keys = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "SSL_CERT_FILE": str(trusted)}
        data.rmdir()
        tree = Tree(data, keys | database.environment, stops, CONFIG.format(port=host.port))
        try:
            tree.start()
            tree.until_up()
            tree.until_settled()
            made = Scene(tree, stops, database, host.url("team/app", "localhost"))
            yield made
            made.client.close()
        finally:
            tree.stop()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("point", POINTS)
def test_whoever_is_killed_there_the_session_gets_its_repository_and_runs_its_command_once(
    scene: Scene, point: str
) -> None:
    with killed_at(scene.stops, point):
        talk = scene.play(point)
    history = talk.history()
    (result,) = every(history, "agent.tool_result")
    assert text_of(result) == "hello\nonce"
    assert not every(history, "session.error")
    rows = scene.database.rows(scene.tree.data, talk.id)
    assert check(rows, acknowledged=[]) == []
    scene.client.beta.sessions.delete(talk.id)
