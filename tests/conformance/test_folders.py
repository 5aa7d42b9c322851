"""Folders of the operator's machine in sessions: which may be had, and what an agent sees of them in its sandbox."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from live_server import HEARTBEAT, Server, Stage, data_directory, serving
from sdk_clients import sdk_client
from session_talk import Talk
from turns import TOOLSET, error_of, every, refused, said, text_of

from outrider.config import Settings, load
from outrider.errors import InvalidRequest
from outrider.models.scripted.script import ToolUse, Turn

BETA = {"anthropic-beta": "managed-agents-2026-04-01"}
CONFIG = """
[folders.handbook]
path = "{place}/handbook"

[folders.shared]
path = "{place}/shared"
access = "read_write"

[folders.theirs]
path = "{place}/handbook"
workspaces = ["wrkspc_of_others"]
"""
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example", "-c", "init.defaultBranch=main")


@dataclass
class Work:
    """A server that offers folders, whose sessions are made at our own address with the unmodified SDK."""

    server: Server
    stage: Stage
    place: Path
    client: anthropic.Anthropic

    def session(self, *folders: Any, commands: tuple[str, ...] = (), **more: Any) -> Any:
        model = f"folders-{os.urandom(4).hex()}"
        self.stage.put(model, *(Turn(ToolUse("bash", {"command": one})) for one in commands), Turn("Done."))
        tools: Any = [TOOLSET]
        agent = self.client.beta.agents.create(name="folders", model=model, tools=tools)
        environment = self.client.beta.environments.create(name="folders")
        extra = sdk_client(f"{self.server.url}/outrider", self.server.key)
        fields: Any = {"agent": agent.id, "environment_id": environment.id} | more
        return extra.beta.sessions.create(**fields, extra_body={"folders": list(folders)})

    def results(self, session: Any) -> list[str]:
        return [text_of(one).rstrip() for one in every(said(Talk(self.client, session.id), "go"), "agent.tool_result")]

    def run(self, *folders: Any, commands: tuple[str, ...]) -> list[str]:
        return self.results(self.session(*folders, commands=commands))


@pytest.fixture(scope="module")
def work() -> Generator[Work]:
    with Stage().open() as stage, data_directory() as place, data_directory() as data:
        place.chmod(0o755)
        for name, mode in (("handbook", 0o755), ("shared", 0o777)):
            (place / name).mkdir()
            (place / name).chmod(mode)
        (place / "handbook" / "rules.md").write_text("Be brief.\n")
        (place / "handbook" / "rules.md").chmod(0o666)  # so that only the mount stands in the way
        (place / "handbook" / "out").symlink_to(data)
        environment = {"OUTRIDER_MODEL_URL": stage.url}
        with serving(data, environment, config=HEARTBEAT + CONFIG.format(place=place)) as server:
            yield Work(server, stage, place, server.client())


def test_a_sessions_folders_are_shown_with_it_and_named_to_the_model(work: Work) -> None:
    session = work.session({"name": "handbook"}, {"name": "shared", "access": "read_write"}, commands=("true",))
    shown: Any = work.client.beta.sessions.retrieve(session.id).to_dict()["folders"]
    assert [(one["name"], one["access"], one["mount_path"], one["clone"]) for one in shown] == [
        ("handbook", "read_only", "/mnt/folders/handbook", None),
        ("shared", "read_write", "/mnt/folders/shared", None),
    ]
    assert work.results(session) == ["(no output)"]
    system = "".join(block["text"] for block in work.stage.requests(session.agent.model.id)[0]["system"])
    assert "- /mnt/folders/handbook (read-only)\n- /mnt/folders/shared (you may read and write)" in system


def test_a_folder_can_be_read_and_not_written_and_leads_nowhere_else(work: Work) -> None:
    read, write, link = work.run(
        {"name": "handbook"},
        commands=(
            "cat /mnt/folders/handbook/rules.md",
            "echo x >> /mnt/folders/handbook/rules.md",
            "ls /mnt/folders/handbook/out/; ls /mnt/folders",
        ),
    )
    assert read == "Be brief."
    assert "Read-only file system" in write
    assert "No such file or directory" in link
    assert "shared" not in link
    assert (work.place / "handbook" / "rules.md").read_text() == "Be brief.\n"


def test_what_is_written_into_a_shared_folder_is_there_for_others_at_once(work: Work) -> None:
    work.run({"name": "shared", "access": "read_write"}, commands=("echo hello > /mnt/folders/shared/note",))
    assert (work.place / "shared" / "note").read_text() == "hello\n"
    read, write = work.run({"name": "shared"}, commands=("cat /mnt/folders/shared/note", "rm /mnt/folders/shared/note"))
    assert read == "hello"
    assert "Read-only file system" in write


def test_a_session_without_folders_sees_none(work: Work) -> None:
    (said,) = work.run(commands=("ls /mnt/folders",))
    assert "No such file or directory" in said


def test_a_repository_in_a_folder_is_cloned_into_the_workspace_and_can_be_pulled_from(work: Work) -> None:
    repository = work.place / "handbook" / "app"
    subprocess.run([*GIT, "init", "-q", str(repository)], check=True, timeout=20)
    (repository / "a").write_text("one\n")
    subprocess.run([*GIT, "-C", str(repository), "add", "a"], check=True, timeout=20)
    subprocess.run([*GIT, "-C", str(repository), "commit", "-qm", "one"], check=True, timeout=20)
    command = "git clone -q /mnt/folders/handbook/app app && cat app/a && git -C app pull -q && echo pulled"
    assert work.run({"name": "handbook"}, commands=(command,)) == ["one\npulled"]


def test_a_folder_that_is_a_repository_is_cloned_when_the_session_asks_for_it(work: Work) -> None:
    repository = work.place / "shared"
    subprocess.run([*GIT, "init", "-q", str(repository)], check=True, timeout=20)
    (repository / "a").write_text("one\n")
    subprocess.run([*GIT, "-C", str(repository), "add", "a"], check=True, timeout=20)
    subprocess.run([*GIT, "-C", str(repository), "commit", "-qm", "one"], check=True, timeout=20)
    subprocess.run([*GIT, "-C", str(repository), "branch", "side"], check=True, timeout=20)
    clone = {"mount_path": "/workspace/code", "checkout": {"type": "branch", "name": "side"}}
    log, fetched = work.run(
        {"name": "shared", "clone": clone},
        commands=("git -C code log --format=%s; git -C code branch --show-current", "git -C code fetch -q && echo yes"),
    )
    assert log == "one\nside"
    assert fetched == "yes"
    session = work.session({"name": "handbook", "clone": {"mount_path": "/workspace/none"}}, commands=("ls none",))
    history = said(Talk(work.client, session.id), "go")
    assert [one.error.repository_url for one in every(history, "session.error")] == ["/mnt/folders/handbook"]


def test_folders_that_a_session_may_not_have_are_refused_with_the_field(work: Work) -> None:
    with refused(400, "folders.0.name", "'secrets'", "handbook, shared"):
        work.session({"name": "secrets"})
    with refused(400, "folders.0.name", "'theirs'"):
        work.session({"name": "theirs"})
    with refused(400, "folders.0.access", "may only be read"):
        work.session({"name": "handbook", "access": "read_write"})
    with refused(400, "folders.1.name", "mounted twice"):
        work.session({"name": "handbook"}, {"name": "handbook"})
    with refused(400, "folders.0.clone.mount_path", "/workspace"):
        work.session({"name": "handbook", "clone": {"mount_path": "/etc"}})
    with refused(400, "folders.1.clone.mount_path", "taken"):
        clone = {"mount_path": "/workspace/a"}
        work.session({"name": "handbook", "clone": clone}, {"name": "shared", "clone": clone})
    with refused(400, "path"):
        work.session({"name": "handbook", "path": "/etc"})
    with refused(400, "folders"):
        work.client.beta.sessions.create(agent="agent_1", environment_id="env_1", extra_body={"folders": []})


def test_a_workspace_can_ask_which_folders_it_may_have(work: Work) -> None:
    headers = BETA | {"authorization": f"Bearer {work.server.key}"}
    answer = httpx2.get(f"{work.server.url}/outrider/v1/folders", headers=headers, timeout=20)
    assert answer.json() == {
        "data": [
            {"type": "folder", "name": "handbook", "access": "read_only"},
            {"type": "folder", "name": "shared", "access": "read_write"},
        ],
        "next_page": None,
    }
    bad = httpx2.post(f"{work.server.url}/outrider/v1/sessions", headers=headers, content=b"[", timeout=20)
    assert "folders" in error_of(bad, 400, "invalid_request_error")


def configured(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "config.toml").write_text(text)
    return load({"OUTRIDER_DATA": str(tmp_path / "data"), "OUTRIDER_CONFIG": str(tmp_path / "config.toml")})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[folders.a]\npath = "relative"', "folders.a.path must be the absolute path"),
        ('[folders.a]\npath = "/nowhere/at/all"', "not a directory"),
        ('[folders.a]\npath = "/"', "data directory"),
        ('[folders.a]\npath = "{data}"', "data directory"),
        ('[folders.a]\npath = "{data}/vault"', "data directory"),
        ('[folders.a]\npath = "/proc"', "the machine's own"),
        ('[folders.A]\npath = "/srv"', "the name must be"),
        ('[folders.a]\npath = "/srv"\naccess = "all"', "read_only or read_write"),
        ('[folders.a]\npath = "/srv"\nworkspaces = "all"', "list of workspace ids"),
        ('[folders.a]\npath = "/srv"\nmode = 1', "unknown key mode"),
        ("folders = 1", "must be tables"),
    ],
)
def test_a_server_does_not_start_with_folders_that_make_no_sense(tmp_path: Path, table: str, words: str) -> None:
    (tmp_path / "data" / "vault").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match=words):
        configured(tmp_path, table.format(data=tmp_path / "data"))
