"""Files given to sessions: copied, shown, mounted for reading, added and taken away while the session lives."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from live_server import Server, Stage
from on_disk import until_gone, until_there
from session_talk import Talk
from strict_wire import Inspector, StrictAsyncTransport
from turns import TOOLSET, every, refused, said, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import Request, ToolUse, Turn

MODEL = "given-files"
UPLOADS = "/mnt/session/uploads"


def commands(request: Request) -> Turn:
    """The model runs what the last message says."""
    content: Any = request.body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1].get("text")
    return Turn(ToolUse("bash", {"command": text})) if text else Turn("Done.")


@pytest.fixture(scope="module")
def made(client: Anthropic, stage: Stage) -> dict[str, str]:
    stage.put(MODEL, decide=commands)
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="tester", model=MODEL, tools=tools)
    return {"agent": agent.id, "environment_id": client.beta.environments.create(name="tests").id}


def uploaded(client: Anthropic, content: bytes, name: str = "data.csv") -> str:
    return client.files.upload(file=(name, content, "text/csv")).id


def given(file_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file_id": file_id, **more}


def session_with(client: Anthropic, made: dict[str, str], *resources: Any, **more: Any) -> Any:
    fields: Any = made | {"resources": list(resources)} | more
    return client.beta.sessions.create(**fields)


def ran(talk: Talk, command: str) -> str:
    return text_of(every(said(talk, command), "agent.tool_result")[-1])


def inside(server: Server, session: str) -> Path:
    return server.data / "sandboxes" / "sessions" / session / "own"


@requirement("resources:file:copy", "resources:file:path", "sessions:create:resources", "resources:list")
def test_a_session_gets_its_own_copy_at_the_default_path(client: Anthropic, made: dict[str, str]) -> None:
    source = uploaded(client, b"a,b\n1,2\n")
    session = session_with(client, made, given(source), given(source, mount_path="/deep/er/data.csv"))
    shown = [one.to_dict() for one in session.resources]
    first = shown[0]
    assert first == {
        "id": first["id"], "type": "file", "file_id": first["file_id"], "mount_path": f"{UPLOADS}/{source}",
        "created_at": first["created_at"], "updated_at": first["created_at"],
    }  # fmt: skip
    assert shown[1]["mount_path"] == f"{UPLOADS}/deep/er/data.csv"
    copies = {one["file_id"] for one in shown}
    assert len(copies | {source}) == 3
    found = {one.id: one for one in client.beta.files.list(scope_id=session.id)}
    assert found.keys() == copies
    copy, original = found[first["file_id"]], client.files.retrieve_metadata(source)
    assert (copy.filename, copy.mime_type, copy.size_bytes, copy.downloadable, copy.expires_at) == (
        original.filename, original.mime_type, original.size_bytes, False, None,
    )  # fmt: skip
    assert [one.to_dict() for one in client.beta.sessions.resources.list(session.id)] == shown
    assert client.beta.sessions.resources.retrieve(first["id"], session_id=session.id).to_dict() == first
    client.beta.sessions.delete(session.id)
    assert client.beta.files.list(ids=[*copies]).data == []
    assert client.files.retrieve_metadata(source).to_dict() == original.to_dict()
    client.files.delete(source)


@requirement("resources:file:path", "tools:paths:uploads")
def test_the_agent_reads_its_files_and_cannot_change_them(
    client: Anthropic, made: dict[str, str], stage: Stage
) -> None:
    big, small = os.urandom(2_500_000), uploaded(client, b"a,b\n1,2\n", "re\u00e7u.csv")
    session = session_with(
        client, made, given(small, mount_path="/in/small.csv"), given(uploaded(client, big), mount_path="/big.bin"),
        given(uploaded(client, b""), mount_path=f"{UPLOADS}/empty"),
    )  # fmt: skip
    talk = Talk(client, session.id)
    look = f"cd {UPLOADS} && cat in/small.csv && wc -c < big.bin && wc -c < empty && sha256sum < big.bin | head -c 8"
    digest = hashlib.sha256(big).hexdigest()[:8]
    assert ran(talk, look) == f"a,b\n1,2\n{len(big)}\n0\n{digest}"
    change = (
        "for c in 'echo x > in/small.csv' 'rm big.bin' 'touch new' 'mv empty full'; do sh -c \"$c\" || echo no; done"
    )
    denied = ran(talk, f"cd {UPLOADS} && {change}")
    assert denied.count("Read-only file system") == denied.count("no\n") + denied.endswith("no") == 4
    system = "\n".join(part["text"] for part in stage.requests(MODEL)[-1]["system"])
    assert f'{UPLOADS}/in/small.csv ("re\u00e7u.csv", text/csv, 8 bytes)' in system
    assert not every(talk.history(), "session.error")
    client.beta.sessions.delete(session.id)


@requirement("resources:add", "resources:delete", "resources:while-running")
def test_files_are_added_and_removed_while_the_session_lives(client: Anthropic, made: dict[str, str]) -> None:
    talk = Talk(client, session_with(client, made).id)
    resources = client.beta.sessions.resources
    assert ran(talk, f"ls {UPLOADS}") == "(no output)"
    source = uploaded(client, b"late")
    added = resources.add(talk.id, type="file", file_id=source, mount_path="/late.txt")
    assert (added.type, added.mount_path, added.file_id != source) == ("file", f"{UPLOADS}/late.txt", True)
    assert [one.to_dict() for one in resources.list(talk.id)] == [added.to_dict()]
    assert ran(talk, f"cat {UPLOADS}/late.txt") == "late"
    removed = resources.delete(added.id, session_id=talk.id)
    assert removed.to_dict() == {"id": added.id, "type": "session_resource_deleted"}
    assert resources.list(talk.id).data == []
    assert client.beta.files.list(scope_id=talk.id).data == []
    again = resources.add(talk.id, type="file", file_id=uploaded(client, b"other"), mount_path="/late.txt")
    assert ran(talk, f"cat {UPLOADS}/late.txt") == "other"
    client.beta.files.delete(again.file_id)
    assert resources.list(talk.id).data == [], "the copy is the resource"
    assert ran(talk, f"ls {UPLOADS}") == "(no output)"
    with refused(404):
        resources.delete(again.id, session_id=talk.id)


@requirement("resources:while-running")
def test_what_changes_while_a_turn_runs_counts_from_its_next_call(
    client: Anthropic, made: dict[str, str], stage: Stage, server: Server
) -> None:
    wait = f"while [ ! -e go ]; do sleep 0.02; done; ls {UPLOADS}"
    calls = [Turn(ToolUse("bash", {"command": command})) for command in (wait, f"ls {UPLOADS}")]
    stage.put("given-late", *calls, Turn("Done."))
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="tester", model="given-late", tools=tools).id
    session = session_with(client, made | {"agent": agent}, given(uploaded(client, b"early"), mount_path="/early"))
    talk = Talk(client, session.id)
    with talk.stream() as reader:
        talk.say("go")
        reader.until("agent.tool_use")
        until_there(inside(server, talk.id) / "uploads" / "early")
        client.beta.sessions.resources.add(talk.id, type="file", file_id=uploaded(client, b"x"), mount_path="/late")
        client.beta.sessions.resources.delete(session.resources[0].id, session_id=talk.id)
        (inside(server, talk.id) / "workspace" / "go").touch()
        reader.idle("end_turn")
    assert [text_of(one) for one in every(talk.history(), "agent.tool_result")] == ["early", "late"]


@requirement("resources:file:path")
@pytest.mark.parametrize(
    ("path", "place"),
    [("/a", "/a"), (f"{UPLOADS}/a/b", "/a/b"), ("/workspace/data.csv", "/workspace/data.csv"), ("/a b\u00e9.txt", None),
     (f"{UPLOADS}x/y", f"{UPLOADS}x/y"), (None, None)],
)  # fmt: skip
def test_a_path_lies_beneath_the_uploads_folder(
    client: Anthropic, made: dict[str, str], path: str | None, place: str | None
) -> None:
    source = uploaded(client, b"x")
    (shown,) = session_with(client, made, given(source, mount_path=path)).resources
    assert shown.mount_path == UPLOADS + (place or path or f"/{source}")


@pytest.mark.parametrize(
    "path", ["", "a", "/", UPLOADS, f"{UPLOADS}/", "/a/", "/a//b", "/a/../b", "/..", "/.", "/a\nb", "/a\0b",
             "/" + "x" * 256, "/" + "x/" * 33 + "x", "/" + "x" * 2000]
)  # fmt: skip
def test_a_path_that_is_no_files_is_refused(client: Anthropic, made: dict[str, str], path: str) -> None:
    source = uploaded(client, b"x")
    with refused(400, "resources.0.mount_path"):
        session_with(client, made, given(source, mount_path=path))
    session = session_with(client, made)
    with refused(400, "mount_path"):
        client.beta.sessions.resources.add(session.id, type="file", file_id=source, mount_path=path)
    assert client.beta.files.list(scope_id=session.id).data == []


def test_no_two_files_share_a_place(client: Anthropic, made: dict[str, str]) -> None:
    source = uploaded(client, b"x")
    for one, other in (("/a", "/a"), ("/a", "/a/b"), ("/a/b/c", "/a"), ("/a", f"{UPLOADS}/a")):
        with refused(400, "resources.1.mount_path", "taken"):
            session_with(client, made, given(source, mount_path=one), given(source, mount_path=other))
    with refused(400, "resources.1.mount_path", "taken"):
        session_with(client, made, given(source), given(source))
    session = session_with(client, made, given(source))
    with refused(400, "mount_path", "taken"):
        client.beta.sessions.resources.add(session.id, type="file", file_id=source)


@requirement("resources:file:limit")
def test_a_session_has_at_most_500_files(client: Anthropic, made: dict[str, str]) -> None:
    source = uploaded(client, b"x")
    every_one = [given(source, mount_path=f"/{n}") for n in range(500)]
    with refused(400, "resources"):
        session_with(client, made, *every_one, given(source))
    session = session_with(client, made, *every_one)
    assert len(client.beta.sessions.resources.list(session.id).data) == 500
    with refused(400, "at most 500 files"):
        client.beta.sessions.resources.add(session.id, type="file", file_id=source)
    client.beta.sessions.resources.delete(session.resources[7].id, session_id=session.id)
    client.beta.sessions.resources.add(session.id, type="file", file_id=source)
    client.beta.sessions.delete(session.id)


def test_a_file_that_is_not_there_makes_no_session(client: Anthropic, made: dict[str, str]) -> None:
    source = uploaded(client, b"x")
    client.files.delete(source)
    for name in (source, "file_none", "sesn_1"):
        with refused(404, f"resources.0.file_id: File {name} not found"):
            session_with(client, made, given(name))
    session = session_with(client, made)
    with refused(404, "file_id: File file_none not found"):
        client.beta.sessions.resources.add(session.id, type="file", file_id="file_none")
    extra: Any = {"checkout": None}
    with refused(400, "checkout"):
        client.beta.sessions.resources.add(session.id, type="file", file_id="file_none", extra_body=extra)
    with refused(404):
        client.beta.sessions.resources.add("sesn_none", type="file", file_id="file_none")
    client.beta.sessions.archive(session.id)
    with refused(400, "archived"):
        client.beta.sessions.resources.add(session.id, type="file", file_id=uploaded(client, b"x"))


def test_a_copy_outlives_its_original_and_can_be_copied_on(
    client: Anthropic, made: dict[str, str], server: Server
) -> None:
    canary = b"canary-" + os.urandom(12).hex().encode()
    source = uploaded(client, canary)
    first = session_with(client, made, given(source, mount_path="/x"))
    client.files.delete(source)
    assert ran(Talk(client, first.id), f"wc -c < {UPLOADS}/x") == str(len(canary))
    second = session_with(client, made, given(first.resources[0].file_id, mount_path="/y"))
    client.beta.sessions.delete(first.id)
    assert ran(Talk(client, second.id), f"wc -c < {UPLOADS}/y") == str(len(canary))
    client.beta.sessions.archive(second.id)
    client.beta.sessions.delete(second.id)
    until_gone(server.data, canary)
    assert not inside(server, first.id).exists()


def test_a_self_hosted_session_is_given_none(client: Anthropic, made: dict[str, str]) -> None:
    place = client.beta.environments.create(name="theirs", config={"type": "self_hosted"}).id
    source = uploaded(client, b"x")
    with refused(400, "self-hosted", place):
        session_with(client, made | {"environment_id": place}, given(source))
    session = session_with(client, made | {"environment_id": place})
    with refused(400, "self-hosted", place):
        client.beta.sessions.resources.add(session.id, type="file", file_id=source)


def test_a_repeated_request_adds_a_file_once(client: Anthropic, made: dict[str, str]) -> None:
    session, source = session_with(client, made), uploaded(client, b"x")
    headers = {"Idempotency-Key": "add-once"}
    added = [client.beta.sessions.resources.add(session.id, type="file", file_id=source, extra_headers=headers)
             for _ in range(2)]  # fmt: skip
    assert added[0] == added[1]
    assert len(client.beta.sessions.resources.list(session.id).data) == 1


@pytest.mark.anyio
@requirement("resources:add", "resources:list", "resources:retrieve", "resources:delete", "resources:file:copy")
async def test_the_asynchronous_client_gives_and_takes_files(
    made: dict[str, str], server: Server, inspector: Inspector
) -> None:
    transport = httpx2.AsyncClient(transport=StrictAsyncTransport(inspector))
    async with (
        asyncio.timeout(20),
        AsyncAnthropic(base_url=server.url, api_key=server.key, max_retries=0, http_client=transport) as client,
    ):
        source = (await client.files.upload(file=("a.txt", b"content"))).id
        fields: Any = made | {"resources": [given(source)]}
        session = await client.beta.sessions.create(**fields)
        resources = client.beta.sessions.resources
        added = await resources.add(session.id, type="file", file_id=source, mount_path="/b")
        assert await resources.retrieve(added.id, session_id=session.id) == added
        assert [one async for one in resources.list(session.id)] == [*session.resources, added]
        assert (await resources.delete(added.id, session_id=session.id)).type == "session_resource_deleted"
        assert (await resources.list(session.id)).data == session.resources
        await client.beta.sessions.delete(session.id)
