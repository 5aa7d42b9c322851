"""Skills at work: named by agents and sessions, announced to the model, read on demand in the sandbox."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.lib.tools._skills import download_session_skills
from live_server import Server, Stage
from people import headers
from session_talk import Talk
from test_skills import loose, skill_file, zipped
from turns import TOOLSET, every, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn

MODEL = "skilled"
_numbers = itertools.count(1)
TOOLS: Any = [TOOLSET]
PLACE = "/mnt/session/skills"


def commands(request: Request) -> Turn:
    """The model runs what the last message says; a path alone is read."""
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    if not text:
        return Turn("Done.")
    return Turn(ToolUse("read", {"file_path": text}) if text.startswith("/") else ToolUse("bash", {"command": text}))


@pytest.fixture
def model(stage: Stage) -> str:
    return stage.put(f"{MODEL}-{next(_numbers)}", decide=commands)


def custom(skill: str, **more: Any) -> Any:
    return {"type": "custom", "skill_id": skill, **more}


def talk_with(client: Anthropic, model: str, *skills: Any, config: Any = None, **more: Any) -> Talk:
    agent = client.beta.agents.create(name="skilled", model=model, tools=TOOLS, skills=list(skills))
    place: Any = {} if config is None else {"config": config}
    environment = client.beta.environments.create(name=f"skilled {next(_numbers)}", **place)
    reference: Any = {"type": "agent_with_overrides", "id": agent.id, **more} if more else agent.id
    return Talk(client, client.beta.sessions.create(agent=reference, environment_id=environment.id).id)


def systems(stage: Stage, model: str) -> list[str]:
    return ["\n".join(part["text"] for part in one["system"]) for one in stage.requests(model)]


def shown(talk: Talk) -> list[dict[str, Any]]:
    return [one.to_dict() for one in talk.client.beta.sessions.retrieve(talk.id).agent.skills]


def last_result(talk: Talk) -> str:
    return text_of(every(talk.history(), "agent.tool_result")[-1])


@requirement("skills:on-demand", "skills:read-only", "skills:entry", "agents:create:skills")
def test_a_skill_is_announced_and_its_files_are_read_when_they_are_needed(
    client: Anthropic, stage: Stage, model: str
) -> None:
    skill = client.beta.skills.create(files=[("s.zip", zipped(mode=0o100755))])
    talk = talk_with(client, model, custom(skill.id))
    said(talk, f"{PLACE}/greeting/SKILL.md")
    assert f"- greeting: How this team greets. ({PLACE}/greeting/SKILL.md)" in systems(stage, model)[0]
    assert "Say hello." in last_result(talk)
    assert "Say hello." not in systems(stage, model)[-1]
    said(
        talk, f"cd / && {PLACE}/greeting/scripts/hello.sh; echo x > {PLACE}/greeting/SKILL.md; ls {PLACE}/.. /workspace"
    )
    assert "hello\n" in last_result(talk)
    assert "Read-only file system" in last_result(talk)
    assert "/workspace:" in last_result(talk)
    assert "greeting" not in last_result(talk).partition("/workspace:")[2]


@requirement("skills:pinned", "agents:object:skill-version", "skills:entry")
def test_a_session_keeps_the_versions_that_it_began_with(client: Anthropic, stage: Stage, model: str) -> None:
    skill = client.beta.skills.create(files=loose(description="First."))
    talk = talk_with(client, model, custom(skill.id))
    second = client.beta.skills.versions.create(skill.id, files=loose(description="Second."))
    assert shown(talk) == [custom(skill.id, version=skill.latest_version_id)]
    said(talk, f"cat {PLACE}/greeting/SKILL.md")
    assert "First." in last_result(talk)
    agent = client.beta.agents.create(
        name="skilled",
        model=model,
        tools=TOOLS,
        skills=[custom(skill.id), {"type": "anthropic", "skill_id": "pdf"}],
    )
    assert [one.to_dict() for one in agent.skills] == [
        custom(skill.id, version="latest"),
        {"type": "anthropic", "skill_id": "pdf", "version": "latest"},
    ]
    client.beta.skills.versions.delete(second.id, skill_id=skill.id)
    pinned = talk_with(client, model, custom(skill.id, version=skill.latest_version_id))
    assert shown(pinned) == shown(talk)


@requirement("skills:pinned", "sessions:overrides:replace")
def test_overrides_replace_an_agents_skills(client: Anthropic, stage: Stage, model: str) -> None:
    skills = [client.beta.skills.create(files=loose(name)).id for name in ("greeting", "farewell")]
    talk = talk_with(client, model, custom(skills[0]), skills=[custom(skills[1])])
    said(talk, f"ls {PLACE}")
    assert [one["skill_id"] for one in shown(talk)] == [skills[1]]
    assert last_result(talk) == "farewell"
    assert "greeting" not in systems(stage, model)[0]
    bare = talk_with(client, model, custom(skills[0]), skills=None)
    said(bare, f"ls {PLACE}")
    assert (shown(bare), last_result(bare)) == ([], "(no output)")
    assert "Skills." not in systems(stage, model)[-1]


@requirement("skills:on-demand")
def test_two_skills_of_one_name_lie_apart(client: Anthropic, stage: Stage, model: str) -> None:
    skills = [client.beta.skills.create(files=loose(description=f"Number {n}.")).id for n in (1, 2)]
    talk = talk_with(client, model, *map(custom, skills))
    said(talk, f"cat {PLACE}/greeting.2/SKILL.md")
    assert "Number 2." in last_result(talk)
    assert (
        f"- greeting: Number 1. ({PLACE}/greeting/SKILL.md)\n- greeting: Number 2. ({PLACE}/greeting.2/SKILL.md)"
        in (systems(stage, model)[0])
    )


@requirement("skills:prebuilt", "skills:on-demand")
def test_skills_for_documents_work_in_the_sandbox(client: Anthropic, stage: Stage, model: str) -> None:
    talk = talk_with(client, model, *({"type": "anthropic", "skill_id": id} for id in ("docx", "pdf", "pptx", "xlsx")))
    out = "/mnt/session/outputs"
    said(
        talk,
        f"cd {PLACE} && printf '# Title\\n\\nText.\\n' | tee /tmp/a.md | python3 docx/scripts/write.py {out}/a.docx"
        f" && python3 docx/scripts/read.py {out}/a.docx && printf 'A,B\\n1,2\\n' > /tmp/a.csv"
        f" && python3 xlsx/scripts/write.py {out}/a.xlsx S=/tmp/a.csv && python3 xlsx/scripts/read.py {out}/a.xlsx S"
        f" && python3 pptx/scripts/write.py {out}/a.pptx < /tmp/a.md && python3 pptx/scripts/read.py {out}/a.pptx"
        f" && python3 pdf/scripts/write.py {out}/a.pdf < /tmp/a.md && head -c 5 {out}/a.pdf",
    )
    assert last_result(talk) == "# Title\n\nText.\nA,B\n1,2\n--- slide 1\n# Title\n- Text.\n%PDF-"
    files = client.beta.files.list(scope_id=talk.id).data
    assert {one.filename for one in files} == {"a.docx", "a.xlsx", "a.pptx", "a.pdf"}


@requirement("skills:need-read", "sessions:overrides:tools-skills")
def test_skills_without_a_tool_to_read_them_are_refused(client: Anthropic, model: str) -> None:
    skill = client.beta.skills.create(files=loose()).id
    blind: Any = TOOLSET | {"configs": [{"name": "read", "enabled": False}]}
    without: list[Any] = [[], [blind]]
    for tools in without:
        with refused(400, "skills", "read"):
            client.beta.agents.create(name="skilled", model=model, tools=tools, skills=[custom(skill)])
    agent = client.beta.agents.create(name="skilled", model=model, tools=TOOLS, skills=[custom(skill)])
    with refused(400, "skills", "read"):
        client.beta.agents.update(agent.id, tools=[])
    with refused(400, "agent.skills", "read"):
        talk_with(client, model, custom(skill), tools=None)
    talk = talk_with(client, model, custom(skill))
    with refused(400, "agent.skills", "read"):
        client.beta.sessions.update(talk.id, agent={"tools": [blind]})


@requirement("skills:unknown", "agents:create:skills")
def test_a_skill_that_is_not_there_is_refused(client: Anthropic, model: str) -> None:
    skill, other = client.beta.skills.create(files=loose()), client.beta.skills.create(files=loose()).id
    entries: list[tuple[Any, str]] = [
        (custom("skill_unknown"), "skills.1.skill_id"),
        (custom("pdf"), "skills.1.skill_id"),
        ({"type": "anthropic", "skill_id": "docs"}, "skills.1.skill_id"),
        ({"type": "anthropic", "skill_id": other}, "skills.1.skill_id"),
        ({"type": "anthropic", "skill_id": "pdf", "version": "20200101"}, "skills.1.version"),
    ]
    for entry, words in entries:
        with refused(404, words):
            talk_with(client, model, custom(skill.id), entry)
        with refused(404, f"agent.{words}"):
            talk_with(client, model, skills=[custom(skill.id), entry])
    with refused(404, "skills.0.version"):
        talk_with(client, model, custom(skill.id, version="skver_unknown"))
    with refused(400, "more than once"):
        talk_with(client, model, custom(skill.id), custom(skill.id, version=skill.latest_version_id))
    agent = client.beta.agents.create(name="skilled", model=model, tools=TOOLS, skills=[custom(skill.id)])
    client.beta.skills.delete(skill.id)
    place = client.beta.environments.create(name="skilled").id
    with refused(404, "agent.skills.0.skill_id", skill.id):
        client.beta.sessions.create(agent=agent.id, environment_id=place)
    assert client.beta.agents.update(agent.id, skills=None).skills == []


@requirement("skills:pinned")
def test_a_deleted_skill_goes_out_of_the_sandboxes_that_had_it(client: Anthropic, server: Server, model: str) -> None:
    skill = client.beta.skills.create(files=[("a/SKILL.md", skill_file("greeting", "Of canary4712."))])
    talk = talk_with(client, model, custom(skill.id))
    said(talk, f"ls {PLACE}")
    assert last_result(talk) == "greeting"
    client.beta.skills.delete(skill.id)
    said(talk, f"ls {PLACE}")
    assert last_result(talk) == "(no output)"


@pytest.mark.anyio
@requirement("skills:pinned", "skills:on-demand")
async def test_the_sdks_worker_finds_the_skills_of_its_session(
    client: Anthropic, server: Server, stage: Stage, tmp_path: Path
) -> None:
    model = stage.put(f"{MODEL}-{next(_numbers)}", Turn("Hi."))
    skill = client.beta.skills.create(files=[("s.zip", zipped(mode=0o100755))])
    config = {"type": "self_hosted"}
    talk = talk_with(client, model, custom(skill.id), {"type": "anthropic", "skill_id": "pdf"}, config=config)
    session = client.beta.sessions.retrieve(talk.id)
    body = {"name": "worker", "scope": "environment", "environment_id": session.environment_id}
    key = httpx2.post(f"{server.url}/outrider/v1/keys", headers=headers(server.key), json=body).json()["key"]
    async with asyncio.timeout(20), AsyncAnthropic(base_url=server.url, api_key=key, max_retries=0) as worker:
        made = await download_session_skills(worker, workdir=tmp_path, session=session)
    assert {one.name for one in made} == {"greeting", "pdf"}
    assert (tmp_path / "skills" / "greeting" / "SKILL.md").read_bytes() == skill_file()
    assert (tmp_path / "skills" / "greeting" / "scripts" / "hello.sh").stat().st_mode & 0o100
    said(talk, "hello")
    assert "- greeting: How this team greets. (skills/greeting/SKILL.md)" in systems(stage, model)[0]
