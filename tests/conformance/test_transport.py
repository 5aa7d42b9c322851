"""What holds for every request: keys, headers, queries, ids and times, errors, and POSTs that are sent again."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server, Stage, data_directory, serving
from session_talk import message
from strict_wire import Inspector, StrictTransport
from turns import every, refused, said

from conformance.requirements import requirement
from outrider.clock import SystemClock
from outrider.config import Limits
from outrider.harness.backoff import delay
from outrider.ids import MonotonicIds
from outrider.models.scripted.script import Turn
from outrider.ports.access import ApiKey, Workspace
from outrider.store.sqlite import SqliteStore

BETA = "managed-agents-2026-04-01"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def bare(server: Server, inspector: Inspector) -> Any:
    """Plain HTTP without any header of ours."""
    with httpx2.Client(base_url=server.url, timeout=20, transport=StrictTransport(inspector)) as client:
        yield client


@requirement("transport:auth:bearer", "transport:auth:x-api-key", "transport:version:current")
@requirement("transport:version:older")
@pytest.mark.parametrize("version", ["2026-10-21", "2023-06-01", None])
def test_a_key_is_taken_in_either_header_with_either_version(
    bare: httpx2.Client, server: Server, version: str | None
) -> None:
    more = {} if version is None else {"anthropic-version": version}
    answers = [
        bare.get("/v1/agents", headers={"anthropic-beta": BETA, **key, **more}, params={"limit": 1})
        for key in ({"authorization": f"Bearer {server.key}"}, {"x-api-key": server.key})
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()


@requirement("transport:auth:missing", "transport:auth:unknown", "errors:401", "errors:envelope")
@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer outr_not_a_key_at_all"}, {"x-api-key": "sk-ant-wrong"}, {"authorization": "Bearer"}],
)
def test_a_missing_or_unknown_key_is_401_in_the_envelope(bare: httpx2.Client, headers: dict[str, str]) -> None:
    answer = bare.get("/v1/agents", headers={"anthropic-beta": BETA} | headers)
    body = answer.json()
    assert answer.status_code == 401
    assert body["type"] == "error"
    assert body["error"]["type"] == "authentication_error"
    assert body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]


@requirement("transport:beta:required", "transport:beta:list", "errors:404")
def test_the_beta_value_is_required_and_found_in_a_list(raw: httpx2.Client) -> None:
    for value in ("", "agent-memory-2026-07-22", "managed-agents-2025-01-01"):
        for path in ("/v1/agents", "/v1/sessions", "/v1/environments"):
            answer = raw.get(path, headers={"anthropic-beta": value})
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    for value in (f"files-2025-04-14,{BETA}", f"{BETA} , other"):
        assert raw.get("/v1/agents", headers={"anthropic-beta": value}).status_code == 200
    assert raw.get("/v1/no-such-thing").status_code == 404
    assert raw.get("/v1/agents/").json()["error"]["type"] == "not_found_error", "no redirect: it would have no envelope"


@requirement("transport:beta:lenient")
def test_an_operator_may_let_requests_without_the_beta_value_through(other_server: Server) -> None:
    headers = {"authorization": f"Bearer {other_server.key}"}
    assert httpx2.get(f"{other_server.url}/v1/agents", headers=headers).status_code == 200


@requirement("transport:workspace:own", "transport:workspace:other", "transport:response:workspace", "errors:403")
def test_a_key_reaches_its_own_workspace_only(raw: httpx2.Client) -> None:
    own = raw.get("/v1/agents").headers["anthropic-workspace-id"]
    assert own.startswith("wrkspc_")
    assert raw.get("/v1/agents", headers={"anthropic-workspace-id": own}).status_code == 200
    answer = raw.get("/v1/agents", headers={"anthropic-workspace-id": "wrkspc_other"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")


@requirement("transport:headers:ignored", "transport:query:beta", "transport:query:unknown")
def test_headers_and_query_keys_that_mean_nothing_here_change_nothing(raw: httpx2.Client) -> None:
    plain = raw.get("/v1/agents?limit=2")
    odd = raw.get(
        "/v1/agents?limit=2&beta=true&colour=red&created_at[near]=now",
        headers={"x-stainless-lang": "cobol", "user-agent": "a teapot", "idempotency-key": "unused"},
    )
    assert (odd.status_code, odd.content) == (200, plain.content)


@requirement("transport:response:request-id")
def test_every_response_has_a_request_id_of_its_own(raw: httpx2.Client, bare: httpx2.Client, client: Anthropic) -> None:
    answers = [
        raw.get("/v1/agents"),
        raw.get("/v1/agents"),
        raw.get("/v1/agents/agent_unknown"),
        raw.get("/v1/nothing"),
        raw.put("/v1/agents"),
        raw.post("/v1/agents", content=b"{"),
        bare.get("/v1/agents"),
    ]
    ids = [answer.headers["request-id"] for answer in answers]
    assert all(re.fullmatch(r"req_\w+", one) for one in ids)
    assert len(set(ids)) == len(ids)
    agent = client.beta.agents.create(name="an agent", model="any-model")
    assert (agent._request_id or "").startswith("req_")  # pyright: ignore[reportPrivateUsage]


@requirement("transport:timestamps", "transport:ids:prefixes", "transport:keys-always-sent")
def test_ids_have_their_prefixes_and_times_are_utc(play: Play, raw: httpx2.Client) -> None:
    talk = play(Turn("Hi."))
    events = said(talk, "hi")
    session = raw.get(f"/v1/sessions/{talk.id}").json()
    agent = raw.get(f"/v1/agents/{session['agent']['id']}").json()
    environment = raw.get(f"/v1/environments/{session['environment_id']}").json()
    (thread,) = raw.get(f"/v1/sessions/{talk.id}/threads").json()["data"]
    for found, prefix in ((session, "sesn_"), (agent, "agent_"), (environment, "env_"), (thread, "sthr_")):
        assert found["id"].startswith(prefix)
        assert found["archived_at"] is None  # sent, although there is no value
        assert TIME.fullmatch(found["created_at"])
        assert TIME.fullmatch(found["updated_at"])
    for event in raw.get(f"/v1/sessions/{talk.id}/events").json()["data"]:
        assert event["id"].startswith("sevt_")
        assert TIME.fullmatch(event["processed_at"])
    assert len(events) == len({event.id for event in events})


@requirement("errors:sdk-class", "errors:401", "errors:404", "errors:409", "errors:400")
def test_the_sdk_raises_the_class_of_the_status_with_message_and_id(client: Anthropic, server: Server) -> None:
    agent = client.beta.agents.create(name="an agent", model="any-model")
    cases: list[tuple[type[anthropic.APIStatusError], str, Any]] = [
        (anthropic.NotFoundError, "not_found_error", lambda: client.beta.agents.retrieve("agent_unknown")),
        (anthropic.BadRequestError, "invalid_request_error", lambda: client.beta.agents.update(agent.id, name="")),
        (anthropic.ConflictError, "conflict_error", lambda: client.beta.agents.update(agent.id, name="x", version=9)),
    ]
    for kind, name, call in cases:
        with pytest.raises(kind) as caught:
            call()
        assert (caught.value.type, caught.value.error_code) == (name, None)
        assert caught.value.api_message
        assert (caught.value.request_id or "").startswith("req_")
    with Anthropic(base_url=server.url, api_key="outr_wrong_key_0123", max_retries=0) as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            stranger.beta.agents.list()


@requirement("transport:retry:deterministic", "helpers:reconnect-statuses")
def test_the_sdk_does_not_repeat_what_cannot_succeed(server: Server, client: Anthropic) -> None:
    agent = client.beta.agents.create(name="an agent", model="any-model")
    sent: list[str] = []

    def note(request: httpx2.Request) -> None:
        sent.append(request.method)

    hooks: Any = {"request": [note]}
    with server.client(max_retries=2, http_client=httpx2.Client(event_hooks=hooks)) as patient:
        with pytest.raises(anthropic.ConflictError) as caught:
            patient.beta.agents.update(agent.id, name="x", version=7)
        assert caught.value.response.headers["x-should-retry"] == "false"
        with refused(400):
            patient.beta.sessions.create(agent=agent.id, environment_id=agent.id, title="t" * 5000)
        with refused(404):
            patient.beta.sessions.events.stream("sesn_unknown")
    assert sent == ["POST", "POST", "GET"]


class LosesTheFirstAnswer(httpx2.HTTPTransport):
    """The network breaks once, after the server has answered."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        response.read()
        if self.lost == 0 and request.method == "POST":
            self.lost += 1
            raise httpx2.ReadError("the connection broke")
        return response


@requirement("transport:retry:no-duplicate")
def test_a_post_whose_answer_was_lost_is_not_carried_out_again(play: Play, server: Server) -> None:
    talk = play(Turn("Hi."))
    transport = LosesTheFirstAnswer()
    hello: Any = message("only once")
    with server.client(max_retries=1, http_client=httpx2.Client(transport=transport)) as client:
        answer = client.beta.sessions.events.send(talk.id, events=[hello])
    assert transport.lost == 1
    talk.wait()
    (stored,) = every(talk.history(), "user.message")
    assert [event.id for event in answer.data or []] == [stored.id]


@requirement("transport:retry:idempotency-key")
def test_one_idempotency_key_is_carried_out_once(client: Anthropic, raw: httpx2.Client) -> None:
    body = {"name": "made once", "model": "any-model"}
    first, again = (raw.post("/v1/agents", json=body, headers={"idempotency-key": "one-key"}) for _ in range(2))
    assert first.content == again.content
    assert first.headers["request-id"] != again.headers["request-id"]
    other = raw.post("/v1/agents", json=body, headers={"idempotency-key": "another-key"})
    assert other.json()["id"] != first.json()["id"]
    clash = raw.post("/v1/agents", json=body | {"name": "another"}, headers={"idempotency-key": "one-key"})
    assert clash.status_code == 400


def key_of_another_workspace(server: Server) -> str:
    """Put into the running server's store, as there is no call for it yet."""
    ids = MonotonicIds()
    secret = f"outr_{ids.new('key')}"

    async def put() -> None:
        async with await SqliteStore.open(server.data / "outrider.db") as store:
            digest = hashlib.sha256(secret.encode()).hexdigest()
            where, now = ids.new("wrkspc"), SystemClock().now()
            await store.add_workspace(Workspace(where, where, now))
            await store.add_key(ApiKey(ids.new("apikey"), where, digest, "test", "admin", now))

    asyncio.run(put())
    return secret


@requirement("errors:404:other-workspace")
def test_an_id_of_another_workspace_is_as_unknown_as_any(play: Play, server: Server, client: Anthropic) -> None:
    talk = play(Turn("Hi."))
    session = client.beta.sessions.retrieve(talk.id)
    with Anthropic(base_url=server.url, api_key=key_of_another_workspace(server), max_retries=0) as stranger:
        calls: list[tuple[Any, str]] = [
            (stranger.beta.agents.retrieve, session.agent.id),
            (stranger.beta.environments.retrieve, session.environment_id),
            (stranger.beta.sessions.retrieve, talk.id),
            (stranger.beta.sessions.delete, talk.id),
            (stranger.beta.sessions.events.stream, talk.id),
        ]
        for call, id in calls:
            unknown = id[:-4] + "0000"
            answers: list[Any] = []
            for asked in (id, unknown):
                with pytest.raises(anthropic.NotFoundError) as caught:
                    call(asked)
                answers.append((caught.value.api_message or "").replace(asked, "it"))
            assert answers[0] == answers[1]
        assert not list(stranger.beta.sessions.list())
    assert client.beta.sessions.retrieve(talk.id).status == "idle"


@requirement("errors:529")
def test_a_server_without_room_on_its_disk_says_so(stage: Stage) -> None:
    full = f"[limits]\nlog_reserve_bytes = {2**60}\n"  # more than there is
    model = {"OUTRIDER_MODEL_URL": stage.url}
    with data_directory() as data, serving(data, model, config=full, up="/healthz") as server:
        with server.client() as client:
            agent = client.beta.agents.create(name="an agent", model="any-model").id
            environment = client.beta.environments.create(name="tests").id
            with pytest.raises(anthropic.OverloadedError) as caught:
                client.beta.sessions.create(agent=agent, environment_id=environment)
            assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")
            assert not list(client.beta.sessions.list())


@requirement("errors:413")
def test_a_body_over_32_megabytes_is_too_large(raw: httpx2.Client, play: Play) -> None:
    answer = raw.post(f"/v1/sessions/{play(Turn('Hi.')).id}/events", content=bytes(32 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "request_too_large")


@requirement("defaults:retries", "defaults:tool-rounds")
def test_the_limits_of_a_turn_are_as_published_unless_configured() -> None:
    """What the limits do is shown by the tests of statuses, with a server that is configured with smaller ones."""
    limits = Limits()
    assert (limits.model_attempts, limits.tool_rounds) == (5, 500)
    waits = [delay(attempts, limits, None) for attempts in range(1, 12)]
    doubled = [min(2.0**n, 60.0) for n in range(11)]
    assert all(whole * 0.75 <= wait <= whole for wait, whole in zip(waits, doubled, strict=True))
