"""Resources of sessions: repositories by their rules, and at work in a whole server with a real git host."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from git_server import GitServer
from live_server import Server, Stage, data_directory, serving
from on_disk import holding
from session_talk import Talk
from strict_wire import Inspector, StrictTransport
from turns import TOOLSET, every, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn
from outrider.vault.authority import Authority

URL = "https://github.com/team/app"
TOKEN = "canary-token-5e1f0a9b"
OTHER = "canary-token-d4c3b2a1"


@pytest.fixture(scope="module")
def made(client: Anthropic) -> dict[str, str]:
    agent = client.beta.agents.create(name="tester", model="model-for-resources")
    environment = client.beta.environments.create(name="tests")
    return {"agent": agent.id, "environment_id": environment.id}


def repository(url: str = URL, **more: Any) -> Any:
    return {"type": "github_repository", "url": url, **more}


def session_with(client: Anthropic, made: dict[str, str], *resources: Any) -> Any:
    fields: Any = made | {"resources": list(resources)}
    return client.beta.sessions.create(**fields)


@requirement("resources:repository:form", "resources:list", "resources:retrieve", "sessions:create:resources")
def test_a_sessions_repositories_are_shown_with_their_defaults(client: Anthropic, made: dict[str, str]) -> None:
    branch: Any = {"type": "branch", "name": "release/1.0"}
    commit: Any = {"type": "commit", "sha": "a" * 40}
    session = session_with(
        client,
        made,
        repository(),
        repository("https://github.com/Team/Lib.js", mount_path="/workspace/deep/lib", checkout=branch),
        repository("https://github.com/team/tool", checkout=commit, mount_path=None),
    )
    shown = [one.to_dict() for one in session.resources]
    assert [one["mount_path"] for one in shown] == ["/workspace/app", "/workspace/deep/lib", "/workspace/tool"]
    assert [one["checkout"] for one in shown] == [None, branch, commit]
    first = shown[0]
    assert first == {
        "id": first["id"], "type": "github_repository", "url": URL, "mount_path": "/workspace/app", "checkout": None,
        "created_at": first["created_at"], "updated_at": first["created_at"],
    }  # fmt: skip
    assert all(one["id"].startswith("sesrsc_") for one in shown)
    assert [one.to_dict() for one in client.beta.sessions.resources.list(session.id)] == shown
    assert client.beta.sessions.retrieve(session.id).to_dict()["resources"] == shown
    for one in shown:
        assert client.beta.sessions.resources.retrieve(one["id"], session_id=session.id).to_dict() == one
    with refused(404):
        client.beta.sessions.resources.retrieve("sesrsc_none", session_id=session.id)
    with refused(404):
        client.beta.sessions.resources.list("sesn_none")


@requirement("pagination:resources")
def test_resources_come_all_at_once_unless_limited(client: Anthropic, made: dict[str, str]) -> None:
    session = session_with(client, made, *(repository(f"https://github.com/team/r{n}") for n in range(5)))
    page = client.beta.sessions.resources.list(session.id)
    assert (len(page.data), page.next_page) == (5, None)
    first = client.beta.sessions.resources.list(session.id, limit=2)
    assert [one.to_dict() for one in first] == [one.to_dict() for one in page.data]
    assert len(first.data) == 2
    with refused(400, "limit"):
        client.beta.sessions.resources.list(session.id, limit=1001)


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:team/app.git", "ssh://git@github.com/team/app", "http://github.com/team/app", URL + ".git",
        URL + "/", URL + "?x=1", URL + "#x", "https://github.com/team", "https://github.com/team/app/tree/main",
        "https://user:pw@github.com/team/app", "https://github.com:444/team/app", "https://github.com/team/..",
        "https://github.com/team/a%2fb", "https://github.com.evil.example/team/app", "https://gitlab.com/team/app",
        "https://github.com/team/app\n", "https://GITHUB.com/team/app", "https://github.com\\@evil/team/app",
    ],
)  # fmt: skip
@requirement("resources:repository:form")
def test_an_address_that_is_not_plainly_a_repository_is_refused(
    client: Anthropic, made: dict[str, str], url: str
) -> None:
    with refused(400, "resources.0.url"):
        session_with(client, made, repository(url))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mount_path", "/etc"), ("mount_path", "/workspace"), ("mount_path", "/workspace/../etc"),
        ("mount_path", "workspace/app"), ("mount_path", "/workspace/a//b"), ("mount_path", "/workspace/a/.git"),
        ("mount_path", "/workspace/a\nb"), ("checkout", {"type": "branch", "name": "--upload-pack=x"}),
        ("checkout", {"type": "branch", "name": "a..b"}), ("checkout", {"type": "branch", "name": "a b"}),
        ("checkout", {"type": "branch", "name": "a\nb"}), ("checkout", {"type": "branch", "name": ""}),
        ("checkout", {"type": "commit", "sha": "abc123"}), ("checkout", {"type": "commit", "sha": "g" * 40}),
        ("checkout", {"type": "tag", "name": "v1"}), ("authorization_token", "a\r\nX: y"),
        ("authorization_token", ""), ("authorization_token", "a b"), ("depth", 1),
    ],
)  # fmt: skip
def test_a_repositorys_fields_have_their_forms(client: Anthropic, made: dict[str, str], field: str, value: Any) -> None:
    with refused(400, f"resources.0.{field}"):
        session_with(client, made, repository(**{field: value}))


def test_no_two_repositories_share_a_place_or_an_address(client: Anthropic, made: dict[str, str]) -> None:
    with refused(400, "resources.1.mount_path"):
        session_with(client, made, repository(), repository("https://github.com/other/app"))
    with refused(400, "resources.1.mount_path"):
        inside = repository("https://github.com/other/lib", mount_path="/workspace/app/lib")
        session_with(client, made, repository(), inside)
    with refused(400, "resources.1.url"):
        session_with(client, made, repository(), repository(mount_path="/workspace/again"))
    with refused(400, "at most 20"):
        session_with(client, made, *(repository(f"https://github.com/team/r{n}") for n in range(21)))


@requirement("resources:update")
def test_only_a_repositorys_token_can_be_changed(client: Anthropic, made: dict[str, str]) -> None:
    session = session_with(client, made, repository())
    (resource,) = session.resources
    update = client.beta.sessions.resources.update
    changed = update(resource.id, session_id=session.id, authorization_token=TOKEN).to_dict()
    assert {**changed, "updated_at": resource.to_dict()["updated_at"]} == resource.to_dict()
    assert changed["updated_at"] > resource.to_dict()["updated_at"]
    assert client.beta.sessions.resources.retrieve(resource.id, session_id=session.id).to_dict() == changed
    with refused(400, "authorization_token"):
        update(resource.id, session_id=session.id, authorization_token="")
    extra: Any = {"mount_path": "/workspace/x"}
    with refused(400, "mount_path"):
        update(resource.id, session_id=session.id, authorization_token=OTHER, extra_body=extra)
    with refused(404):
        update("sesrsc_none", session_id=session.id, authorization_token=OTHER)
    client.beta.sessions.archive(session.id)
    with refused(400, "archived"):
        update(resource.id, session_id=session.id, authorization_token=OTHER)


def test_a_repository_stays_for_its_sessions_life(client: Anthropic, made: dict[str, str]) -> None:
    session = session_with(client, made, repository())
    with refused(400, "only files can be removed"):
        client.beta.sessions.resources.delete(session.resources[0].id, session_id=session.id)
    with refused(404):
        client.beta.sessions.resources.delete("sesrsc_none", session_id=session.id)


# -- at work

SKILL = "---\nname: greeting\ndescription: >\n  How this team\n  greets.\n---\nSay hello.\n"
CONFIG = """
[egress]
allow_private = ["127.0.0.1:{port}"]

[git.hosts.tests]
url = "https://localhost:{port}"

[limits]
heartbeat = 0.5
"""


class Work:
    """A server beside a git host that wants a token."""

    def __init__(self, server: Server, host: GitServer, stage: Stage, client: Anthropic) -> None:
        self.server = server
        self.host = host
        self.stage = stage
        self.client = client

    def talk(self, name: str, tools: Any = TOOLSET, **more: Any) -> Talk:
        agent = self.client.beta.agents.create(name="tester", model=MODEL, tools=[tools])
        networking: Any = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": []}}
        environment = self.client.beta.environments.create(name="tests", config=networking)
        resources: Any = [repository(self.host.url(name, "localhost"), **more)]
        made = self.client.beta.sessions.create(agent=agent.id, environment_id=environment.id, resources=resources)
        return Talk(self.client, made.id)

    def systems(self) -> list[str]:
        """The system texts of the requests so far."""
        return ["\n".join(part["text"] for part in one["system"]) for one in self.stage.requests(MODEL)]


MODEL = "worker"


def commands(request: Request) -> Turn:
    """The model runs what the last message says."""
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, inspector: Inspector) -> Generator[Work]:
    place = tmp_path_factory.mktemp("git")
    outside = Authority(place)
    host = GitServer(place / "repositories")
    host.make("team/app", TOKEN, {"README": "hello\n", ".claude/skills/greeting/SKILL.md": SKILL})
    with host.serving(outside.context("localhost")), data_directory() as data, Stage().open() as stage:
        trusted = data.parent / "trusted.pem"
        trusted.write_text(outside.certificate)
        trusted.chmod(0o644)
        stage.put(MODEL, decide=commands)
        environment = {"OUTRIDER_MODEL_URL": stage.url, "SSL_CERT_FILE": str(trusted)}
        with serving(data, environment, config=CONFIG.format(port=host.port)) as server:
            with server.client(http_client=httpx2.Client(transport=StrictTransport(inspector))) as client:
                yield Work(server, host, stage, client)


def ran(talk: Talk, command: str) -> str:
    return text_of(every(said(talk, command), "agent.tool_result")[-1])


@requirement("resources:repository:token-hidden", "skills:repository", "sessions:create:resources")
def test_a_session_works_on_a_private_repository_with_a_token_that_is_nowhere(work: Work) -> None:
    talk = work.talk("team/app", authorization_token=TOKEN)
    began = len(work.systems())
    first = ran(talk, "cat /workspace/app/README")
    assert first == "hello", [event.to_dict() for event in every(talk.history(), "session.error")]
    system = work.systems()[began]
    assert f"{work.host.url('team/app', 'localhost')} at /workspace/app" in system
    assert "- greeting: How this team greets. (/workspace/app/.claude/skills/greeting/SKILL.md)" in system
    work.host.commit("team/app", {"LATER": "later\n"})
    pulled = ran(talk, "cd /workspace/app && export no_proxy= NO_PROXY= && git pull -q && cat LATER && git remote -v")
    assert pulled.splitlines()[0] == "later"
    assert TOKEN not in pulled
    commit = "git config user.email a@b && git config user.name a && git commit -qm x --allow-empty"
    assert ran(talk, f"{commit} && git push -q && echo ok") == "ok"
    assert work.host.used(TOKEN)
    assert holding(work.server.data.parent, TOKEN) == []
    assert TOKEN not in repr([event.to_dict() for event in talk.history()])
    assert not every(talk.history(), "session.error")


@requirement("resources:update")
def test_a_rotated_token_counts_for_later_requests_and_ends_with_its_session(work: Work) -> None:
    work.host.make("team/rotated", OTHER, {"README": "new\n"})
    talk = work.talk("team/rotated", authorization_token=TOKEN)
    history = said(talk, "ls /workspace/rotated")
    (error,) = every(history, "session.error")
    assert error.error.type == "repository_forbidden_error"
    resources: Any = talk.client.beta.sessions.resources.list(talk.id).data
    rotate: Any = talk.client.beta.sessions.resources.update
    rotate(resources[0].id, session_id=talk.id, authorization_token=OTHER)
    assert ran(talk, "cat /workspace/rotated/README") == "new"
    talk.client.beta.sessions.archive(talk.id)
    work.host.asked.clear()
    assert holding(work.server.data.parent, OTHER) == []


@pytest.mark.parametrize(
    ("name", "more", "kind"),
    [
        ("team/app", {}, "repository_authentication_error"),
        ("team/app", {"authorization_token": "wrong-token"}, "repository_forbidden_error"),
        ("team/none", {"authorization_token": TOKEN}, "repository_not_found_error"),
        (
            "team/app",
            {"authorization_token": TOKEN, "checkout": {"type": "branch", "name": "none"}},
            "repository_checkout_error",
        ),
        (
            "team/app",
            {"authorization_token": TOKEN, "checkout": {"type": "commit", "sha": "b" * 40}},
            "repository_checkout_error",
        ),
    ],
)
@requirement("resources:repository:clone-failed", "emitted:error:repository")
def test_a_repository_that_cannot_be_had_is_an_error_and_the_session_goes_on(
    work: Work, name: str, more: dict[str, Any], kind: str
) -> None:
    talk = work.talk(name, **more)
    history = said(talk, "ls /workspace")
    (error,) = every(history, "session.error")
    assert error.error.type == kind
    assert error.error.retry_status.type == "retrying"
    assert error.error.repository_url == work.host.url(name, "localhost")
    assert error.error.repository_url in error.error.message
    assert text_of(every(history, "agent.tool_result")[-1]) == "(no output)"
    assert history[-1].stop_reason.type == "end_turn"


@requirement("skills:repository")
def test_skills_are_announced_only_where_they_can_be_read(work: Work) -> None:
    began = len(work.systems())
    tools = TOOLSET | {"configs": [{"name": "read", "enabled": False}]}
    said(work.talk("team/app", tools, authorization_token=TOKEN), "true")
    assert "at /workspace/app" in work.systems()[began]
    assert "greeting" not in work.systems()[began]


def test_a_session_that_runs_no_tool_makes_no_checkout(work: Work) -> None:
    work.stage.put("talker", Turn("Hello."))
    tools: Any = [TOOLSET]
    agent = work.client.beta.agents.create(name="talker", model="talker", tools=tools)
    environment = work.client.beta.environments.create(name="tests")
    resources: Any = [repository(work.host.url("team/app", "localhost"), authorization_token=TOKEN)]
    session = work.client.beta.sessions.create(agent=agent.id, environment_id=environment.id, resources=resources)
    said(Talk(work.client, session.id), "hello")
    workspace = work.server.data / "sandboxes" / "sessions" / session.id / "own" / "workspace"
    assert not os.path.exists(workspace / "app")
