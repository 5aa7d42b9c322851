"""Files: uploaded, listed, described, given out, deleted, expired, by the rules of their names and sizes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from live_server import Server, Stage, data_directory, serving
from on_disk import entries
from sdk_clients import sdk_client
from strict_wire import Inspector, StrictAsyncTransport, StrictTransport
from turns import refused

from conformance.requirements import requirement

LIMITS = """
[server]
downloadable_uploads = true

[limits]
file_bytes = 300000
file_storage_bytes = 700000
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def small(stage: Stage, store: dict[str, str]) -> Generator[Server]:
    """A server that takes small files only, and gives out what was uploaded."""
    with data_directory() as data, serving(data, {}, config=LIMITS) as server:
        yield server


@pytest.fixture
def giving(small: Server, inspector: Inspector) -> Generator[Anthropic]:
    with small.client(http_client=httpx2.Client(transport=StrictTransport(inspector))) as client:
        yield client


def form(*parts: tuple[str, str | None, bytes], boundary: str = "b0und") -> dict[str, Any]:
    """A request's body and header, with parts of (name, filename, content) as they are."""
    body = b""
    for name, filename, content in parts:
        named = "" if filename is None else f'; filename="{filename}"'
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode()
        body += content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


@requirement("files:upload", "files:metadata", "files:content:uploaded", "files:delete")
def test_a_file_is_uploaded_described_and_deleted(client: Anthropic) -> None:
    made = client.beta.files.upload(file=("notes.md", b"# Notes\n", "text/markdown"))
    shown = made.to_dict()
    assert shown == {
        "id": made.id, "type": "file", "filename": "notes.md", "mime_type": "text/markdown", "size_bytes": 8,
        "created_at": shown["created_at"], "downloadable": False, "expires_at": None,
    }  # fmt: skip
    assert made.id.startswith("file_")
    assert client.beta.files.retrieve_metadata(made.id) == made
    with refused(400, "not downloadable", error_code="file_not_downloadable"):
        client.beta.files.download(made.id)
    assert client.beta.files.delete(made.id).to_dict() == {"id": made.id, "type": "file_deleted"}
    for ask in (client.beta.files.retrieve_metadata, client.beta.files.download, client.beta.files.delete):
        with refused(404, made.id):
            ask(made.id)


@requirement("files:upload", "files:content", "files:delete")
def test_bytes_come_back_as_they_went_and_leave_nothing(giving: Anthropic, small: Server) -> None:
    content = os.urandom(250_001)
    made = giving.beta.files.upload(file=("päper \u2713.bin", content))
    assert (made.filename, made.mime_type, made.downloadable) == ("päper \u2713.bin", "application/octet-stream", True)
    answer = giving.beta.files.download(made.id)
    assert answer.read() == content
    assert answer.headers["content-length"] == "250001"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''p%C3%A4per%20%E2%9C%93.bin"
    assert entries(small.data / "blobs", "content")
    giving.beta.files.delete(made.id)
    assert not entries(small.data / "blobs", "file_*")
    empty = giving.beta.files.upload(file=("empty.txt", b""))
    assert (empty.size_bytes, giving.beta.files.download(empty.id).read()) == (0, b"")
    giving.beta.files.delete(empty.id)


@requirement("files:upload:expires")
def test_a_file_may_have_an_end(client: Anthropic) -> None:
    for seconds in (3600, 7_776_000):
        made = client.beta.files.upload(file=b"x", expires_in_seconds=seconds)
        assert made.expires_at is not None
        assert made.expires_at - made.created_at == timedelta(seconds=seconds)
    for seconds in (3599, 7_776_001, -1):
        with refused(400, "expires_in_seconds"):
            client.beta.files.upload(file=b"x", expires_in_seconds=seconds)


@requirement("files:upload:filename")
@pytest.mark.parametrize(
    ("given", "kept"),
    [("a/b/report.pdf", "report.pdf"), ("", "unnamed"), ("dir/", "unnamed"), ("%7e.txt", "%7e.txt"), ("n" * 255,) * 2],
)
def test_only_the_last_part_of_a_name_is_kept(raw: httpx2.Client, given: str, kept: str) -> None:
    answer = raw.post("/v1/files", **form(("file", given, b"x")))
    assert answer.status_code == 200, answer.text
    found = answer.json()["filename"]
    assert found == kept or (kept == "unnamed" and found.startswith("unnamed."))


@requirement("files:upload:filename", "files:upload")
def test_a_nameless_files_type_gives_it_an_extension(client: Anthropic) -> None:
    assert client.beta.files.upload(file=("", b"{}", "application/json")).filename == "unnamed.json"
    named = client.beta.files.upload(file=("table.csv", b"a,b", "text/csv; charset=utf-8"))
    assert named.mime_type == "text/csv"


@requirement("files:upload:name-rules")
@pytest.mark.parametrize(
    "name", ["a<b", "a>b", "a:b", "a|b", "a?b", "a*b", "a\\b", "a%22b", "a%0Ab", "a\tb", "n" * 256]
)
def test_forbidden_names_are_refused(raw: httpx2.Client, name: str) -> None:
    answer = raw.post("/v1/files", **form(("file", name, b"x")))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"].startswith("file: its name")


@requirement("files:upload")
def test_a_field_may_stand_before_or_behind_the_file(raw: httpx2.Client) -> None:
    parts = [("file", "a.txt", b"x" * 100_000), ("expires_in_seconds", None, b"3600")]
    for order in (parts, parts[::-1]):
        answer = raw.post("/v1/files", **form(*order)).json()
        assert (answer["size_bytes"], answer["expires_at"] is not None) == (100_000, True)


@requirement("files:upload")
@pytest.mark.parametrize(
    ("request_of", "words"),
    [
        (form(("expires_in_seconds", None, b"3600")), "file: Field required"),
        (form(("file", "a", b"x"), ("file", "b", b"x")), "file: Extra"),
        (form(("file", "a", b"x"), ("purpose", None, b"x")), "purpose: Extra"),
        (form(("file", "a", b"x"), ("expires_in_seconds", None, b"soon")), "expires_in_seconds"),
        (form(("file", "a", b"x"), ("expires_in_seconds", None, b"9" * 5000)), "expires_in_seconds"),
        (form(*[("file", "a", b"x")] * 100), "64 parts"),
        ({"content": b"{}", "headers": {"content-type": "application/json"}}, "multipart/form-data"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b0und"}}, "not a form"),
        ({**form(("file", "a", b"x")), "content": form(("file", "a", b"x"))["content"][:-9]}, "ends within"),
        (
            {**form(("file", "a", b"x")), "content": b"--b0und\r\nContent-Type: a/b\r\n\r\nx\r\n--b0und--"},
            "have a name",
        ),
    ],
)
def test_a_broken_form_is_refused(raw: httpx2.Client, request_of: dict[str, Any], words: str) -> None:
    answer = raw.post("/v1/files", **request_of)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]


@requirement("files:upload:too-large")
def test_a_file_over_the_limit_is_refused_and_leaves_nothing(giving: Anthropic, small: Server) -> None:
    giving.beta.files.delete(giving.beta.files.upload(file=b"x" * 300_000).id)
    with refused(413, "MB"):
        giving.beta.files.upload(file=b"x" * 300_001)
    assert not entries(small.data / "blobs", "file_*")
    assert giving.beta.files.list().data == []


@requirement("files:upload:quota")
def test_a_workspace_stores_no_more_than_it_may(giving: Anthropic, small: Server) -> None:
    kept = [giving.beta.files.upload(file=b"x" * 300_000) for _ in range(2)]
    with refused(400, "storage", error_code="storage_quota_exceeded"):
        giving.beta.files.upload(file=b"x" * 100_001)
    assert len(giving.beta.files.list().data) == 2
    assert len(entries(small.data / "blobs", "file_*")) == 2
    for one in kept:
        giving.beta.files.delete(one.id)
    giving.beta.files.delete(giving.beta.files.upload(file=b"x" * 300_000).id)


@requirement("files:upload:retry")
def test_a_retry_of_a_stored_upload_makes_no_second_file(raw: httpx2.Client) -> None:
    content = os.urandom(1000)
    first = raw.post("/v1/files", **form(("file", "a.bin", content)))
    again = form(("file", "a.bin", content), boundary="another")
    again["headers"]["x-stainless-retry-count"] = "1"
    assert raw.post("/v1/files", **again).json() == first.json()
    other = form(("file", "b.bin", content))
    other["headers"]["x-stainless-retry-count"] = "1"
    assert raw.post("/v1/files", **other).json()["id"] != first.json()["id"]
    keyed = form(("file", "a.bin", content))
    keyed["headers"]["idempotency-key"] = f"key-{next(_numbers)}"
    made = raw.post("/v1/files", **keyed).json()
    assert made["id"] != first.json()["id"]
    assert raw.post("/v1/files", **keyed).json() == made


@requirement("files:list", "files:list:cursor")
def test_files_are_listed_newest_first_in_pages(client: Anthropic, raw: httpx2.Client) -> None:
    made = [client.beta.files.upload(file=(f"{n}.txt", b"x")).id for n in range(5)]
    first = client.beta.files.list(limit=2)
    assert [one.id for one in first.data] == [made[4], made[3]]
    assert first.next_page is not None
    assert first.next_page.startswith("page_")
    walked = list(itertools.islice(client.beta.files.list(limit=2), 5))
    assert [one.id for one in walked] == made[::-1]
    assert len(client.beta.files.list().data) <= 20
    for page in ("nonsense", "page_nonsense", first.next_page.removeprefix("page_")):
        with refused(400, "page"):
            client.beta.files.list(page=page)
    for limit in (0, 1001):
        with refused(400, "limit"):
            client.beta.files.list(limit=limit)
    assert raw.get("/v1/files", params={"limit": 1000}).status_code == 200


@requirement("files:list:ids")
def test_files_are_listed_by_their_ids(client: Anthropic) -> None:
    made = [client.beta.files.upload(file=(f"{n}.txt", b"x")).id for n in range(3)]
    client.beta.files.delete(made[1])
    page = client.beta.files.list(ids=[*made, made[0], "file_unknown"])
    assert [one.id for one in page.data] == [made[2], made[0]]
    assert page.next_page is None
    assert len(client.beta.files.list(ids=[made[0]] * 150).data) == 1
    with refused(400, "ids"):
        client.beta.files.list(ids=[f"file_{n}" for n in range(101)])
    with refused(400, "limit"):
        client.beta.files.list(ids=made, limit=5)


@requirement("files:upload", "files:list", "files:metadata", "files:delete")
@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same(small: Server, inspector: Inspector) -> None:
    transport = httpx2.AsyncClient(transport=StrictAsyncTransport(inspector))
    async with (
        asyncio.timeout(20),
        AsyncAnthropic(base_url=small.url, api_key=small.key, max_retries=0, http_client=transport) as client,
    ):
        made = await client.beta.files.upload(file=("a.txt", b"content"), expires_in_seconds=3600)
        assert await client.beta.files.retrieve_metadata(made.id) == made
        assert [one.id async for one in client.beta.files.list(limit=1)] == [made.id]
        assert await (await client.beta.files.download(made.id)).read() == b"content"
        assert (await client.beta.files.delete(made.id)).type == "file_deleted"


@requirement("files:upload", "files:list", "files:metadata", "files:content", "files:delete")
def test_the_clients_own_files_resource_works_without_a_beta(small: Server) -> None:
    with small.client() as client:
        made = client.files.upload(file=("a.txt", b"content"))
        assert client.files.retrieve_metadata(made.id) == made
        assert client.files.list(ids=[made.id]).data == [made]
        assert client.files.download(made.id).read() == b"content"
        client.files.delete(made.id)


@requirement("files:content:expired", "files:delete")
def test_an_expired_file_is_known_without_its_content(small: Server) -> None:
    with small.client() as client:
        made = client.files.upload(file=b"x", expires_in_seconds=3600)
        with closing(sqlite3.connect(small.data / "outrider.db")) as db, db:
            db.execute("UPDATE files SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE id = ?", (made.id,))
        with refused(404, "expired", error_code="file_expired"):
            client.files.download(made.id)
        assert client.files.retrieve_metadata(made.id).filename == made.filename
        assert [one.id for one in client.files.list().data] == [made.id]
        client.files.delete(made.id)
        with refused(404, made.id):
            client.files.retrieve_metadata(made.id)


@requirement("files:workspace")
def test_a_file_is_unknown_in_another_workspace(small: Server) -> None:
    digest = hashlib.sha256(b"outr_another_workspace").hexdigest()
    with closing(sqlite3.connect(small.data / "outrider.db")) as db, db:
        columns = "(id, workspace, digest, name, created_at)"
        db.execute(f"INSERT INTO api_keys {columns} VALUES ('key_2', 'wrkspc_2', ?, 'other', '')", (digest,))
    with small.client() as client, sdk_client(small.url, "outr_another_workspace") as other:
        made = client.files.upload(file=b"x")
        assert other.files.list().data == other.files.list(ids=[made.id]).data == []
        for ask in (other.files.retrieve_metadata, other.files.download, other.files.delete):
            with refused(404, made.id):
                ask(made.id)
        client.files.delete(made.id)


@requirement("files:list:scope")
def test_uploads_belong_to_no_session(client: Anthropic) -> None:
    client.beta.files.upload(file=b"x")
    assert client.beta.files.list(scope_id="sesn_none").data == []


def test_an_upload_that_is_broken_off_leaves_nothing(small: Server) -> None:
    def half() -> Generator[bytes]:
        yield form(("file", "a.bin", b"x" * 200_000))["content"][:150_000]
        raise ConnectionAbortedError

    headers = {"authorization": f"Bearer {small.key}", "content-type": "multipart/form-data; boundary=b0und"}
    with httpx2.Client(base_url=small.url, headers=headers) as raw, pytest.raises(ConnectionAbortedError):
        raw.post("/v1/files", content=half())
    with small.client() as client:
        assert client.files.list().data == []
        client.files.delete(client.files.upload(file=b"x").id)
