"""Requests at the edges, over plain HTTP: bodies that are no requests, repeated requests, keys, other workspaces."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server, Stage
from sdk_clients import sdk_client
from session_talk import Talk, message
from turns import error_of

from conformance.requirements import requirement
from outrider.clock import SystemClock
from outrider.ids import MonotonicIds
from outrider.models.scripted.script import Turn
from outrider.ports.access import ApiKey, Workspace
from outrider.store.sqlite import SqliteStore

MEGABYTE = 1024 * 1024
BETA = {"anthropic-beta": "managed-agents-2026-04-01"}
_ids = MonotonicIds()


@pytest.fixture
def http(server: Server) -> Generator[httpx2.Client]:
    """A client that knows nothing of the API but its address, its key and its beta header."""
    headers = BETA | {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{not json", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"name=x&model=y", "not valid JSON"),
        (b'{"name": "x"', "not valid JSON"),
        (b'{"name": "\xff\xfe", "model": "m"}', "not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'[{"name": "x", "model": "m"}]', "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"name": "x", "model": "m", "colour": "red"}', "colour"),
        (b'{"name": "x", "model": "m", "metadata": {"a": {"b": 1}}}', "metadata.a"),
        (b'{"name": "x", "model": {"id": "m", "colour": "red"}}', "model.colour"),
        (b'{"name": "x", "model": "m", "system": "\\ud800"}', "not valid JSON"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_request_is_refused_with_the_reason(http: httpx2.Client, body: bytes, words: str) -> None:
    answer = http.post("/v1/agents", content=body)
    assert words in error_of(answer, 400, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"
    assert http.get("/v1/agents?limit=1").status_code == 200


def test_an_unknown_field_deep_in_an_event_is_named_and_nothing_is_stored(play: Play, http: httpx2.Client) -> None:
    talk = play(Turn("Never said."))
    good, bad = message("one"), message("two")
    bad["content"][0]["colour"] = "red"
    answer = http.post(f"/v1/sessions/{talk.id}/events", json={"events": [good, bad]})
    assert "events.1.content.0.colour" in error_of(answer, 400, "invalid_request_error")
    answer = http.post(f"/v1/sessions/{talk.id}/events", json={"events": [good], "colour": "red"})
    assert "colour" in error_of(answer, 400, "invalid_request_error")
    assert talk.history() == []
    assert talk.status() == "idle"


def big_message(size: int) -> bytes:
    return json.dumps({"events": [message("x" * size)]}).encode()


def in_pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), MEGABYTE):
        yield body[start : start + MEGABYTE]


@pytest.mark.parametrize("chunked", [False, True], ids=["with content-length", "chunked"])
def test_a_body_of_40_megabytes_is_too_large(play: Play, http: httpx2.Client, chunked: bool) -> None:
    talk = play(Turn("Never said."))
    body = big_message(40 * MEGABYTE)
    answer = http.post(f"/v1/sessions/{talk.id}/events", content=in_pieces(body) if chunked else body)
    assert "32 MB" in error_of(answer, 413, "request_too_large")
    assert answer.request.headers.get("transfer-encoding") == ("chunked" if chunked else None)
    assert talk.history() == []
    with pytest.raises(anthropic.APIStatusError, check=lambda e: e.status_code == 413):
        talk.say("x" * 40 * MEGABYTE)


def test_a_chunked_body_within_the_limit_is_taken_whole(play: Play, http: httpx2.Client) -> None:
    talk = play(Turn("Long."))
    answer = http.post(f"/v1/sessions/{talk.id}/events", content=in_pieces(big_message(3 * MEGABYTE)))
    assert answer.status_code == 200
    talk.wait()
    first = next(event for event in talk.history() if event.type == "user.message")
    assert len(first.content[0].text) == 3 * MEGABYTE


def said(play: Play, http: httpx2.Client, *headers: dict[str, str]) -> tuple[list[Any], list[str]]:
    """Answers to one and the same message, sent once with each of the headers; the texts that were stored."""
    talk = play(*[Turn("Yes.")] * 9)
    body = json.dumps({"events": [message("do it")]}).encode()
    path = f"/v1/sessions/{talk.id}/events"
    answers = [http.post(path, content=body, headers=one).raise_for_status().json() for one in headers]
    talk.wait()
    return answers, [event.id for event in talk.history() if event.type == "user.message"]


def test_one_idempotency_key_stores_a_message_once_and_answers_alike(play: Play, http: httpx2.Client) -> None:
    key = {"idempotency-key": _ids.new("sevt")}
    (first, second), stored = said(play, http, key, key)
    assert first == second
    assert stored == [first["data"][0]["id"]]


def test_two_idempotency_keys_store_two_messages(play: Play, http: httpx2.Client) -> None:
    _, stored = said(play, http, {"idempotency-key": _ids.new("sevt")}, {"idempotency-key": _ids.new("sevt")})
    assert len(stored) == 2


def test_an_idempotency_key_with_another_body_is_refused(http: httpx2.Client) -> None:
    key = {"idempotency-key": _ids.new("sevt")}
    http.post("/v1/environments", json={"name": "one"}, headers=key).raise_for_status()
    answer = http.post("/v1/environments", json={"name": "two"}, headers=key)
    assert "another body" in error_of(answer, 400, "invalid_request_error")


def test_what_the_sdk_sends_again_gets_the_first_answer(play: Play, http: httpx2.Client) -> None:
    first, again = {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "1"}
    (one, two), stored = said(play, http, first, again)
    assert one == two
    assert len(stored) == 1


def test_a_first_attempt_is_never_taken_for_a_repeat(play: Play, http: httpx2.Client) -> None:
    first = {"x-stainless-retry-count": "0"}
    (one, two), stored = said(play, http, first, first)
    assert one != two
    assert len(stored) == 2


def test_a_retry_whose_first_attempt_never_arrived_is_carried_out(play: Play, http: httpx2.Client) -> None:
    (answer,), stored = said(play, http, {"x-stainless-retry-count": "2"})
    assert stored == [answer["data"][0]["id"]]


def test_a_refused_request_is_not_kept_as_the_answer(play: Play, http: httpx2.Client) -> None:
    key = {"idempotency-key": _ids.new("sevt")}
    assert http.post("/v1/environments", json={"name": ""}, headers=key).status_code == 400
    assert http.post("/v1/environments", json={"name": "good"}, headers=key).status_code == 200


@requirement("errors:500")
def test_a_failure_inside_is_500_and_keeps_its_cause_to_itself(play: Play, server: Server, http: httpx2.Client) -> None:
    talk = play()
    with closing(sqlite3.connect(server.data / "outrider.db", timeout=10.0)) as db, db:
        db.execute("UPDATE sessions SET usage = ? WHERE id = ?", (b'{"torn', talk.id))
    answer = http.get(f"/v1/sessions/{talk.id}")
    said = error_of(answer, 500, "api_error")
    assert not any(word in said.lower() for word in ("json", "truncated", "decode", "usage"))
    assert answer.headers["request-id"] == answer.json()["request_id"]
    http.delete(f"/v1/sessions/{talk.id}").raise_for_status()


def kept_answers(server: Server, word: str) -> int:
    """How many of the answers that the running server keeps for retries hold this word."""
    with closing(sqlite3.connect(server.data / "outrider.db", timeout=10.0)) as db:
        return db.execute("SELECT count(*) FROM answers WHERE instr(body, ?) > 0", (word.encode(),)).fetchone()[0]


def test_what_is_kept_for_retries_of_a_session_is_erased_with_it(
    play: Play, server: Server, http: httpx2.Client
) -> None:
    word = _ids.new("word")
    talk = play(Turn("Yes."))
    like = talk.client.beta.sessions.retrieve(talk.id)
    made = {"agent": like.agent.id, "environment_id": like.environment_id, "title": word}
    session = http.post("/v1/sessions", json=made).raise_for_status().json()["id"]
    body = {"events": [message(word), {"type": "user.interrupt"}]}
    http.post(f"/v1/sessions/{session}/events", json=body).raise_for_status()
    http.post(f"/v1/sessions/{session}", json={"metadata": {"word": word}}).raise_for_status()
    assert kept_answers(server, word) == 3
    Talk(talk.client, session).wait()
    http.delete(f"/v1/sessions/{session}").raise_for_status()
    assert kept_answers(server, word) == 0


def stored_key(server: Server, workspace: str = "", *, revoked_at: str | None = None) -> str:
    """A key of this workspace, put into the running server's store."""
    secret = f"outr_{_ids.new('key')}"

    async def put() -> None:
        async with await SqliteStore.open(server.data / "outrider.db") as store:
            digest = hashlib.sha256(secret.encode()).hexdigest()
            where = workspace or store.default_workspace
            now = SystemClock().now()
            if workspace:
                await store.add_workspace(Workspace(where, where, now))
            await store.add_key(ApiKey(_ids.new("apikey"), where, digest, "test", "admin", now, revoked_at))

    asyncio.run(put())
    return secret


def keyed(server: Server, key: str) -> Anthropic:
    return sdk_client(server.url, key)


def test_an_unknown_key_and_a_revoked_one_are_refused_alike(server: Server, http: httpx2.Client) -> None:
    revoked = stored_key(server, revoked_at="2026-01-01T00:00:00Z")
    texts = [
        error_of(http.get("/v1/agents", headers={"authorization": f"Bearer {key}"}), 401, "authentication_error")
        for key in (revoked, "outr_unknown_0123456789")
    ]
    assert texts[0] == texts[1]
    with keyed(server, stored_key(server)) as client:
        client.beta.agents.list(limit=1)


def test_another_workspaces_ids_are_not_found(server: Server, play: Play, client: Anthropic, stage: Stage) -> None:
    talk = play(Turn("Hi."))
    session = client.beta.sessions.retrieve(talk.id)
    thread = next(iter(client.beta.sessions.threads.list(talk.id))).id
    with keyed(server, stored_key(server, _ids.new("wrkspc"))) as other:
        beta = other.beta
        agent, environment = session.agent.id, session.environment_id
        own = beta.agents.create(name="own", model=stage.put("model-of-the-other", Turn("Hi.")))
        place = beta.environments.create(name="own")
        attempts: list[Any] = [
            lambda: beta.agents.retrieve(agent),
            lambda: beta.agents.update(agent, name="mine"),
            lambda: beta.agents.archive(agent),
            lambda: list(beta.agents.versions.list(agent)),
            lambda: beta.environments.retrieve(environment),
            lambda: beta.environments.update(environment, name="mine"),
            lambda: beta.environments.archive(environment),
            lambda: beta.environments.delete(environment),
            lambda: beta.sessions.retrieve(talk.id),
            lambda: beta.sessions.update(talk.id, title="mine"),
            lambda: beta.sessions.archive(talk.id),
            lambda: beta.sessions.delete(talk.id),
            lambda: list(beta.sessions.events.list(talk.id)),
            lambda: beta.sessions.events.send(talk.id, events=[{"type": "user.interrupt"}]),
            lambda: beta.sessions.events.stream(talk.id),
            lambda: list(beta.sessions.threads.list(talk.id)),
            lambda: beta.sessions.threads.retrieve(thread, session_id=talk.id),
            lambda: list(beta.sessions.threads.events.list(thread, session_id=talk.id)),
            lambda: beta.sessions.threads.events.stream(thread, session_id=talk.id),
            lambda: beta.sessions.create(agent=agent, environment_id=place.id),
            lambda: beta.sessions.create(agent=own.id, environment_id=environment),
        ]
        for number, attempt in enumerate(attempts):
            with pytest.raises(anthropic.NotFoundError):
                pytest.fail(f"attempt {number} gave {attempt()}")
        for found in (beta.agents.list(), beta.environments.list(), beta.sessions.list()):
            assert not {agent, environment, talk.id} & {item.id for item in found}
    assert talk.history() == []
    after = client.beta.sessions.retrieve(talk.id)
    assert after.to_dict() == session.to_dict() | {"stats": after.stats.to_dict()}


def test_a_key_with_another_workspaces_header_is_refused(server: Server, http: httpx2.Client) -> None:
    answer = http.get("/v1/agents", headers={"anthropic-workspace-id": "wrkspc_other"})
    assert "wrkspc_other" in error_of(answer, 403, "permission_error")
