"""Skills: uploaded loose or as a zip, versioned, listed, given out, deleted, by the unmodified SDK."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.lib import files_from_dir
from live_server import Server
from on_disk import entries, until_gone
from strict_wire import Inspector, StrictAsyncTransport
from turns import error_of, refused

from conformance.requirements import requirement

SCRIPT = b"#!/bin/sh\necho hello\n"


def skill_file(name: str = "greeting", description: str = "How this team greets.") -> bytes:
    return f"---\nname: {name}\ndescription: {description}\n---\nSay hello.\n".encode()


def loose(name: str = "greeting", description: str = "How this team greets.") -> list[Any]:
    return [(f"{name}/SKILL.md", skill_file(name, description)), (f"{name}/scripts/hello.sh", SCRIPT)]


def zipped(*, mode: int = 0o100644) -> bytes:
    """As `loose`, with a script of that mode."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("greeting/SKILL.md", skill_file())
        script = zipfile.ZipInfo("greeting/scripts/hello.sh")
        script.external_attr = mode << 16
        archive.writestr(script, SCRIPT)
    return out.getvalue()


def unzipped(content: bytes) -> dict[str, tuple[bytes, str]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {one.filename: (archive.read(one), oct(one.external_attr >> 16)) for one in archive.infolist()}


@requirement(
    "skills:create", "skills:upload:loose", "skills:retrieve", "skills:display-name", "skills:version:retrieve",
    "skills:version:create", "skills:version:list", "skills:version:delete", "skills:version:delete:last",
    "skills:delete",
)  # fmt: skip
def test_a_skills_life(client: Anthropic) -> None:
    skills = client.beta.skills
    made = skills.create(files=loose(), display_name="How to greet")
    shown = made.to_dict()
    assert shown == {
        "id": made.id, "type": "skill", "display_name": "How to greet", "latest_version_id": made.latest_version_id,
        "source": {"type": "custom"}, "created_at": shown["created_at"], "updated_at": shown["created_at"],
    }  # fmt: skip
    assert made.id.startswith("skill_")
    assert made.latest_version_id.startswith("skver_")
    assert skills.retrieve(made.id) == made
    first = skills.versions.retrieve("latest", skill_id=made.id)
    assert (first.name, first.description) == ("greeting", "How this team greets.")
    assert (first.id, first.skill_id) == (made.latest_version_id, made.id)
    with refused(400, "delete the skill instead"):
        skills.versions.delete(first.id, skill_id=made.id)
    second = skills.versions.create(made.id, files=loose(description="Another way."))
    assert skills.versions.retrieve("latest", skill_id=made.id) == second
    assert second.description == "Another way."
    assert [one.id for one in skills.versions.list(made.id, limit=1)] == [second.id, first.id]
    assert skills.retrieve(made.id).updated_at == second.created_at
    assert skills.versions.delete(second.id, skill_id=made.id).to_dict() == {
        "id": second.id,
        "type": "skill_version_deleted",
    }
    assert skills.retrieve(made.id).latest_version_id == first.id
    assert skills.delete(made.id).to_dict() == {"id": made.id, "type": "skill_deleted"}
    for ask in (
        lambda: skills.retrieve(made.id),
        lambda: skills.delete(made.id),
        lambda: skills.versions.list(made.id),
        lambda: skills.versions.retrieve(first.id, skill_id=made.id),
        lambda: skills.versions.download(first.id, skill_id=made.id),
        lambda: skills.versions.delete(first.id, skill_id=made.id),
        lambda: skills.versions.create(made.id, files=loose()),
    ):
        with refused(404, made.id):
            ask()


@pytest.mark.anyio
@requirement("skills:create", "skills:version:content", "skills:delete")
async def test_the_asynchronous_client_does_the_same(server: Server, inspector: Inspector) -> None:
    transport = httpx2.AsyncClient(transport=StrictAsyncTransport(inspector))
    async with (
        asyncio.timeout(20),
        AsyncAnthropic(base_url=server.url, api_key=server.key, max_retries=0, http_client=transport) as client,
    ):
        made = await client.beta.skills.create(files=loose())
        second = await client.beta.skills.versions.create(made.id, files=[("s.zip", zipped())])
        assert (await client.beta.skills.list(limit=1, source="custom")).data[0].id == made.id
        assert (await client.beta.skills.versions.retrieve("latest", skill_id=made.id)).id == second.id
        listed = [one.id async for one in client.beta.skills.versions.list(made.id)]
        assert listed == [second.id, made.latest_version_id]
        content = await client.beta.skills.versions.download(second.id, skill_id=made.id)
        assert list(unzipped(await content.read())) == ["greeting/SKILL.md", "greeting/scripts/hello.sh"]
        await client.beta.skills.versions.delete(second.id, skill_id=made.id)
        assert (await client.beta.skills.delete(made.id)).id == made.id


@requirement("skills:upload:zip", "skills:upload:loose", "skills:version:content", "skills:version:content:latest")
def test_what_was_uploaded_comes_back_as_a_zip(client: Anthropic, tmp_path: Path) -> None:
    place = tmp_path / "greeting" / "scripts"
    place.mkdir(parents=True)
    (place / "hello.sh").write_bytes(SCRIPT)
    (place.parent / "SKILL.md").write_bytes(skill_file())
    ways: list[tuple[list[Any], str]] = [
        (files_from_dir(tmp_path / "greeting"), "0o100644"),
        ([("any name.zip", zipped())], "0o100644"),
        ([("upload", zipped(mode=0o100755), "application/zip")], "0o100755"),
    ]
    for files, mode in ways:
        made = client.beta.skills.create(files=files)
        answer = client.beta.skills.versions.download(made.latest_version_id, skill_id=made.id)
        assert answer.headers["content-type"] == "application/zip"
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''greeting.zip"
        assert unzipped(answer.read()) == {
            "greeting/SKILL.md": (skill_file(), "0o100644"),
            "greeting/scripts/hello.sh": (SCRIPT, mode),
        }
        with refused(404, "latest"):
            client.beta.skills.versions.download("latest", skill_id=made.id)
        with refused(404, "latest"):
            client.beta.skills.versions.delete("latest", skill_id=made.id)
        client.beta.skills.delete(made.id)


@requirement("skills:display-name")
def test_a_display_name_is_one_short_line(client: Anthropic) -> None:
    for name in ("n" * 255, "Grüße \u2713"):
        made = client.beta.skills.create(files=loose(), display_name=name)
        assert made.display_name == name
    assert client.beta.skills.create(files=loose(), display_name=None).display_name == "greeting"
    for name in ("n" * 256, "two\nlines", " ", ""):
        with refused(400, "display_name"):
            client.beta.skills.create(files=loose(), display_name=name)


@requirement("skills:version:name")
def test_a_version_keeps_the_name_of_its_skill(client: Anthropic) -> None:
    made = client.beta.skills.create(files=loose())
    with refused(400, "greeting", "farewell"):
        client.beta.skills.versions.create(made.id, files=loose("farewell"))
    assert client.beta.skills.retrieve(made.id) == made


@requirement("skills:list", "skills:list:source")
def test_skills_are_listed_newest_first_and_by_their_source(client: Anthropic) -> None:
    made = [client.beta.skills.create(files=loose()).id for _ in range(3)][::-1]
    assert [one.id for one in client.beta.skills.list(limit=3).data] == made
    listed = list(client.beta.skills.list(limit=2))  # walked to the end, past those that come with the server
    assert [one.id for one in listed][:3] == made
    assert len({one.id for one in listed}) == len(listed)
    for source in ("custom", "anthropic"):
        alone = [one.id for one in client.beta.skills.list(limit=2, source=source)]
        assert alone == [one.id for one in listed if one.source.type == source]
        assert alone
    with refused(400, "source"):
        client.beta.skills.list(source="plugin")
    with refused(400, "limit"):
        client.beta.skills.list(limit=1001)


@requirement("skills:prebuilt", "skills:version:content", "skills:version:list")
def test_skills_that_come_with_the_server_are_read_and_never_changed(client: Anthropic) -> None:
    skills = client.beta.skills
    assert {one.id for one in skills.list(source="anthropic")} == {"docx", "pdf", "pptx", "xlsx"}
    for id in ("docx", "pdf", "pptx", "xlsx"):
        shown = skills.retrieve(id)
        assert shown.source.type == "anthropic"
        (version,) = skills.versions.list(id)
        assert version == skills.versions.retrieve("latest", skill_id=id)
        assert (version.id, version.name, version.skill_id) == (shown.latest_version_id, id, id)
        held = unzipped(skills.versions.download(version.id, skill_id=id).read())
        assert f"{id}/SKILL.md" in held
        for change in (
            lambda id=id: skills.delete(id),
            lambda id=id: skills.versions.create(id, files=loose(id)),
            lambda id=id, version=version.id: skills.versions.delete(version, skill_id=id),
        ):
            with refused(400, id, "can't be changed"):
                change()
        with refused(404, "20200101"):
            skills.versions.retrieve("20200101", skill_id=id)


@requirement("skills:upload:hostile", "skills:upload:head", "skills:upload:loose")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("greeting/SKILL.md", skill_file()), ("greeting/../../etc/passwd", b"x")], ".."),
        ([("greeting/SKILL.md", skill_file()), ("other/x", b"x")], "top directory"),
        ([("greeting/x", b"x")], "SKILL.md"),
        ([("x.zip", zipped(mode=0o120777))], "links"),
        ([("x.zip", b"no zip")], "zip"),
        ([("greeting/SKILL.md", skill_file()), *((f"greeting/{n}", b"") for n in range(1000))], "1000 files"),
        ([("greeting/SKILL.md", skill_file("Not Good"))], "lower-case"),
    ],
)
def test_an_upload_that_is_no_plain_skill_is_refused(client: Anthropic, files: Any, words: str) -> None:
    with refused(400, "files", words):
        client.beta.skills.create(files=files)


@requirement("skills:upload:limits", "skills:upload:hostile")
def test_too_much_is_refused_packed_or_not(client: Anthropic) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("greeting/SKILL.md", skill_file())
        archive.writestr("greeting/zeros", bytes(30 * 1024**2))
    with refused(400, "30 MB"):
        client.beta.skills.create(files=[("bomb.zip", out.getvalue())])
    with refused(400, "30 MB"):
        client.beta.skills.create(files=[*loose(), ("greeting/zeros", bytes(30 * 1024**2))])
    with refused(413, "30 MB"):
        client.beta.skills.create(files=[*loose(), ("greeting/zeros", bytes(33 * 1024**2))])


@requirement("skills:create")
def test_a_form_without_files_or_with_more_is_refused(raw: httpx2.Client) -> None:
    def sent(*parts: tuple[str, str]) -> httpx2.Response:
        body = "".join(
            f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts
        )
        headers = {"content-type": "multipart/form-data; boundary=b"}
        return raw.post("/v1/skills", content=f"{body}--b--\r\n", headers=headers)

    assert error_of(sent(("display_name", "x")), 400, "invalid_request_error") == "files: Field required"
    assert error_of(sent(("other", "x")), 400, "invalid_request_error").startswith("other: ")
    assert "multipart" in error_of(raw.post("/v1/skills", json={}), 400, "invalid_request_error")


@requirement("skills:idempotent")
def test_a_repeated_upload_makes_one_skill(client: Anthropic) -> None:
    first = client.beta.skills.create(files=loose(), display_name="once")
    again: dict[str, str] = {"x-stainless-retry-count": "1"}
    assert client.beta.skills.create(files=loose(), display_name="once", extra_headers=again) == first
    version = client.beta.skills.versions.create(first.id, files=loose())
    assert client.beta.skills.versions.create(first.id, files=loose(), extra_headers=again) == version
    assert len(list(client.beta.skills.versions.list(first.id))) == 2


@requirement("skills:delete", "skills:version:delete")
def test_what_is_deleted_leaves_no_bytes(client: Anthropic, server: Server) -> None:
    made = client.beta.skills.create(files=loose(description="A secret recipe of canary4711."))
    second = client.beta.skills.versions.create(made.id, files=loose())
    blobs = [place.name for place in entries(server.data / "blobs", "skver_*")]
    assert {made.latest_version_id, second.id} <= set(blobs)
    client.beta.skills.versions.delete(made.latest_version_id, skill_id=made.id)
    client.beta.skills.delete(made.id)
    gone = {made.latest_version_id, second.id}
    assert not gone & {place.name for place in entries(server.data / "blobs", "skver_*")}
    until_gone(server.data, "canary4711")
