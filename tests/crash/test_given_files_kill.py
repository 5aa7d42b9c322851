"""Kills whoever stands around each step of a file's way into a session and out of it. The session has its files in the
end, whole and once, each command ran once, and what was taken away is nowhere."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from kill_matrix import GIVEN
from kill_stores import Database
from killing import killed_at
from live_server import KEY, Stage, data_directory
from matrix_tree import Tree
from on_disk import until_gone
from session_talk import Talk
from turns import every, said, text_of

from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.testing.invariants import check
from outrider.testing.stops import Stops

POINTS = sorted(f"{place}.{when}" for place in GIVEN for when in ("before", "after"))
FIRST = "echo once >> count; cd /mnt/session/uploads; wc -c < in/early; cat late; cat /workspace/count"
SECOND = "ls -R /mnt/session/uploads"
SIZE = 1_500_000


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
        self.environment = self.client.beta.environments.create(name="killed").id

    def play(self, title: str, canary: bytes) -> Talk:
        """One session with two files, of which one is taken away again."""
        client = self.client
        early = client.files.upload(file=("early", canary + os.urandom(SIZE - len(canary)))).id
        late = client.files.upload(file=("late", f"late {title}".encode())).id
        resources: Any = [{"type": "file", "file_id": early, "mount_path": "/in/early"}]
        fields: Any = {"agent": self.agent, "environment_id": self.environment, "title": title}
        made = client.beta.sessions.create(resources=resources, **fields)
        given: Any = made.resources[0].to_dict()
        client.beta.sessions.resources.add(made.id, type="file", file_id=late, mount_path="/late")
        talk = Talk(client, made.id)
        said(talk, FIRST)
        client.files.delete(early)
        try:
            client.beta.sessions.resources.delete(given["id"], session_id=made.id)
        except anthropic.NotFoundError:
            pass  # a repetition of what was done
        said(talk, SECOND)
        return talk


@pytest.fixture(scope="module")
def scene(database: Database) -> Generator[Scene]:
    with Stage().open() as stage, data_directory() as data, Stops() as stops:
        stage.put("killed", decide=commands)
        data.rmdir()
        keys = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        tree = Tree(data, keys | database.environment, stops)
        try:
            tree.start()
            tree.until_up()
            tree.until_settled()
            made = Scene(tree, stops, database)
            yield made
            made.client.close()
        finally:
            tree.stop()


@pytest.mark.timeout(90)
@pytest.mark.parametrize("point", POINTS)
def test_whoever_is_killed_there_the_session_has_its_files_whole_and_what_is_taken_away_is_gone(
    scene: Scene, point: str
) -> None:
    canary = os.urandom(16).hex().encode()
    with killed_at(scene.stops, point):
        talk = scene.play(point, canary)
    first, second = every(talk.history(), "agent.tool_result")
    assert text_of(first) == f"{SIZE}\nlate {point}once"
    assert text_of(second) == "/mnt/session/uploads:\nlate"
    listed = talk.client.beta.sessions.resources.list(talk.id).data
    assert [one.to_dict()["mount_path"] for one in listed] == ["/mnt/session/uploads/late"]
    assert len(talk.client.beta.files.list(scope_id=talk.id).data) == 1
    assert not every(talk.history(), "session.error")
    assert check(scene.database.rows(scene.tree.data, talk.id), acknowledged=[]) == []
    if point != "resource.drop.after":  # or its bytes are the sweep's
        until_gone(scene.tree.data, canary)
    scene.client.beta.sessions.delete(talk.id)
