"""One model request through the client, over real HTTP and unix sockets: the scripted server, or a bare socket."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from outrider.clock import SystemClock
from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER, ModelProfile
from outrider.errors import ModelFailure
from outrider.models.client import AnthropicModel, http_client
from outrider.models.probe import probe
from outrider.models.scripted import (
    BUILTIN,
    Barrier,
    Cut,
    ErrorEvent,
    HttpError,
    Raw,
    Redacted,
    Script,
    Text,
    Thinking,
    ToolUse,
    Turn,
    Usage,
    in_order,
    running,
    serve_on,
)
from outrider.ports.model import INVALID_JSON, Delta, ModelCall, ModelReply

pytestmark = pytest.mark.anyio

BODY: dict[str, Any] = {"model": "any", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
CALL = ModelCall("main", BODY, "sesn_1", 3)


async def capability(call: ModelCall) -> str:
    return f"cap:{call.session}:{call.epoch}"


def connect(url: str, *, idle: float = 10.0, path: Path | None = None) -> AnthropicModel:
    return AnthropicModel(url, http_client(idle, socket=path), capability=capability)


async def ask(script: Script, deltas: list[Delta] | None = None, **body: Any) -> ModelReply:
    async with running(script) as server:
        model = connect(server.url)
        try:
            call = ModelCall("main", {**BODY, **body}, "sesn_1", 3)
            return await model.respond(call, (deltas if deltas is not None else []).append)
        finally:
            await model.close()


async def failure(answer: Turn | HttpError, *, idle: float = 10.0) -> ModelFailure:
    async with running(in_order(answer)) as server:
        model = connect(server.url, idle=idle)
        with pytest.raises(ModelFailure) as caught:
            await model.respond(CALL, ignore)
        await model.close()
    return caught.value


def ignore(delta: Delta) -> None: ...


async def test_blocks_come_back_exactly_as_the_model_sent_them() -> None:
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"anything": [1, None]}], "new": True}
    citation = {"type": "char_location", "cited_text": "a", "document_index": 0, "start_char_index": 0}
    turn = Turn(
        Thinking("Let me ", "see.", signature="sig"),
        Redacted("opaque"),
        Raw(found),
        Text("Hel", "lo", citations=[citation]),
        ToolUse("bash", {"command": "ls", "n": {"deep": [1, 2.5, "ü"]}}, id="toolu_1"),
        ToolUse("bash", {}, id="toolu_2"),
    )
    reply = await ask(in_order(turn))
    assert reply.content == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "opaque"},
        found,
        {"type": "text", "text": "Hello", "citations": [citation]},
        {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls", "n": {"deep": [1, 2.5, "ü"]}}},
        {"type": "tool_use", "id": "toolu_2", "name": "bash", "input": {}},
    ]
    assert reply.stop_reason == "tool_use"


async def test_fast_speed_is_asked_for_with_the_beta_that_models_want_for_it() -> None:
    async with running(in_order(Turn("Quick."), Turn("As usual."))) as server:
        model = connect(server.url)
        await model.respond(ModelCall("default", {**CALL.body, "speed": "fast"}, "sesn_1", 1), ignore)
        await model.respond(CALL, ignore)
        await model.close()
        fast, plain = server.control.requests
    assert fast.headers["anthropic-beta"] == "fast-mode-2026-02-01"
    assert "anthropic-beta" not in plain.headers


async def test_deltas_tell_of_each_block_and_only_of_text_that_is_an_answer() -> None:
    deltas: list[Delta] = []
    await ask(in_order(Turn(Thinking("hm"), Text("a", "b"), ToolUse("bash", {"x": 1}))), deltas)
    assert deltas == [
        Delta("start", 0, "thinking"),
        Delta("stop", 0, "thinking"),
        Delta("start", 1, "text"),
        Delta("text", 1, "text", "a"),
        Delta("text", 1, "text", "b"),
        Delta("stop", 1, "text"),
        Delta("start", 2, "tool_use"),
        Delta("stop", 2, "tool_use"),
    ]


async def test_usage_is_merged_from_the_start_and_the_end_of_the_stream() -> None:
    reply = await ask(in_order(Turn("ok", usage=Usage(10, 20, 30, 40))))
    assert reply.usage == {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 40,
        "service_tier": "standard",
    }


@pytest.mark.parametrize("raw", ['{"command": "l', "[1]", "nonsense"])
async def test_a_tool_input_that_is_no_json_object_is_kept_as_text(raw: str) -> None:
    reply = await ask(in_order(Turn(ToolUse("bash", raw=raw), stop_reason="max_tokens")))
    assert reply.content[0]["input"] == {INVALID_JSON: raw}
    assert reply.stop_reason == "max_tokens"


async def test_a_refusal_keeps_its_details() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "no"}
    reply = await ask(in_order(Turn(stop_reason="refusal", stop_details=details)))
    assert (reply.content, reply.stop_reason, reply.stop_details) == ([], "refusal", details)


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "after"),
    [
        (HttpError(409, "conflict_error"), "model_request_failed_error", True, None),
        (HttpError(429, "rate_limit_error", retry_after="7"), "model_rate_limited_error", True, 7.0),
        (HttpError(529, "overloaded_error", retry_after="x"), "model_overloaded_error", True, None),
        (HttpError(500), "model_request_failed_error", True, None),
        (HttpError(503), "model_request_failed_error", True, None),
        (HttpError(408, "timeout_error"), "model_request_failed_error", True, None),
        (HttpError(400, "invalid_request_error"), "model_request_failed_error", False, None),
        (HttpError(401, "authentication_error"), "model_request_failed_error", False, None),
        (HttpError(404, "not_found_error"), "model_request_failed_error", False, None),
        (HttpError(413, "request_too_large"), "model_request_failed_error", False, None),
        (HttpError(402, "billing_error"), "billing_error", False, None),
        (Turn(Text("a", ErrorEvent("overloaded_error"))), "model_overloaded_error", True, None),
        (Turn(Text("a", ErrorEvent("rate_limit_error"))), "model_rate_limited_error", True, None),
        (Turn(Text("a", ErrorEvent("api_error"))), "model_request_failed_error", True, None),
        (Turn(Text("a", ErrorEvent("invalid_request_error"))), "model_request_failed_error", False, None),
        (Turn(Text("a", Cut())), "model_request_failed_error", True, None),
        (Turn("a", first_byte=Cut()), "model_request_failed_error", True, None),
    ],
)
async def test_each_failure_has_its_kind(
    answer: Turn | HttpError, kind: str, retryable: bool, after: float | None
) -> None:
    found = await failure(answer)
    assert (found.kind, found.retryable, found.retry_after) == (kind, retryable, after)


@pytest.mark.parametrize("answer", [Turn("a", first_byte=Barrier("never")), Turn(Text("a", Barrier("never")))])
async def test_a_model_that_falls_silent_is_given_up(answer: Turn) -> None:
    found = await failure(answer, idle=0.3)
    assert found.retryable
    assert found.message == "The model sent nothing for 0.3 seconds."


async def test_cancelling_closes_the_connection() -> None:
    async with running(in_order(Turn(Text("a", Barrier("X"))))) as server:
        model = connect(server.url)
        async with anyio.create_task_group() as group:
            group.start_soon(model.respond, CALL, ignore)
            await server.control.arrived("X")
            group.cancel_scope.cancel()
        assert (await server.control.answered(1)).outcome == "gone"
        await model.close()


@asynccontextmanager
async def counting_connections() -> AsyncGenerator[tuple[str, list[int]]]:
    """A scripted server behind a relay that numbers the connections made to it."""
    accepted: list[int] = []

    async def relay(near: anyio.abc.SocketStream) -> None:
        accepted.append(len(accepted) + 1)
        async with near, await anyio.connect_tcp("127.0.0.1", int(server.url.rpartition(":")[2])) as far:
            async with anyio.create_task_group() as both:
                both.start_soon(copy, near, far)
                both.start_soon(copy, far, near)

    async def copy(source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                await target.send(await source.receive())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with running(Script(lambda request: Turn("ok"))) as server, anyio.create_task_group() as group:
        group.start_soon(listener.serve, relay)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}", accepted
        group.cancel_scope.cancel()
    await listener.aclose()


async def test_requests_share_a_connection() -> None:
    async with counting_connections() as (url, accepted):
        model = connect(url)
        for _ in range(3):
            await model.respond(CALL, ignore)
        await model.close()
    assert accepted == [1]


async def test_no_vault_is_worth_a_retry(tmp_path: Path) -> None:
    model = connect("http://vault", path=tmp_path / "absent.sock")
    with pytest.raises(ModelFailure) as caught:
        await model.respond(CALL, ignore)
    assert caught.value.retryable
    await model.close()


async def test_a_vault_that_was_restarted_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "vault.sock"
    model = connect("http://vault", path=path)
    for turn in ("before", "after"):
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        async with running(in_order(Turn(turn)), listener=listener):
            assert (await model.respond(CALL, ignore)).content[0]["text"] == turn
    with pytest.raises(ModelFailure) as caught:
        await model.respond(CALL, ignore)
    assert caught.value.retryable
    await model.close()


async def test_it_goes_over_a_unix_socket_with_the_claims_capability_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "CANARY")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "CANARY")
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-canary: CANARY")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://canary.invalid")
    monkeypatch.setenv("HTTP_PROXY", "http://canary.invalid")
    path = tmp_path / "vault.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    async with running(in_order(Turn("ok")), listener=listener) as server:
        model = connect("http://vault", path=path)
        reply = await model.respond(CALL, ignore)
        await model.close()
    headers = server.control.requests[0].headers
    assert reply.content[0]["text"] == "ok"
    assert (headers[CAPABILITY_HEADER], headers[ENDPOINT_HEADER]) == ("cap:sesn_1:3", "main")
    assert "CANARY" not in repr(headers)
    assert not {"authorization", "x-api-key"} & set(headers)


async def test_unknown_fields_of_the_body_are_sent_as_they_are() -> None:
    async with running(in_order(Turn("ok"))) as server:
        model = connect(server.url)
        body = {**BODY, "temperature": 0.5, "speed": "fast", "betas": None}
        body.pop("betas")
        await model.respond(ModelCall("main", body, "s", 1), ignore)
        await model.close()
    assert server.control.requests[0].body == {**body, "stream": True}


Answerer = Callable[[anyio.abc.SocketStream], Awaitable[None]]


@asynccontextmanager
async def bare(answer: bytes) -> AsyncGenerator[str]:
    """A server that answers every request with these bytes and closes."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        group.cancel_scope.cancel()
    await listener.aclose()


def http(body: str, headers: Mapping[str, str], status: str = "200 OK") -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}connection: close\r\n\r\n{body}".encode()


STREAM = {"content-type": "text/event-stream"}
START = 'event: message_start\ndata: {"type":"message_start","message":{"usage":{}}}\n\n'


@pytest.mark.parametrize(
    ("answer", "retryable", "said"),
    [
        (http("{}", {"content-type": "application/json"}), False, "does not stream"),
        (http("event: x\ndata: {oops\n\n", STREAM), True, "no JSON object"),
        (http(START, STREAM), True, "ended before the message did"),
        (http(START + 'event: x\ndata: {"type":"content_block_delta","index":4}\n\n', STREAM), True, "malformed"),
        (http("gateway\ndown", {"content-type": "text/html"}, "502 Bad Gateway"), True, "answered 502: gateway"),
        (http("event: error\ndata: oops\n\n", STREAM), True, "oops"),
        (b"nonsense\r\n\r\n", True, "can't be reached"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_a_failure(answer: bytes, retryable: bool, said: str) -> None:
    async with bare(answer) as url:
        model = connect(url)
        with pytest.raises(ModelFailure) as caught:
            await model.respond(CALL, ignore)
        await model.close()
    assert (caught.value.kind, caught.value.retryable) == ("model_request_failed_error", retryable)
    assert said in caught.value.message


async def test_an_input_counts_although_its_block_was_never_stopped() -> None:
    events: list[dict[str, Any]] = [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    lines = START + "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    async with bare(http(lines, STREAM)) as url:
        model = connect(url)
        reply = await model.respond(CALL, ignore)
        await model.close()
    assert reply.content == [{"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}}]


async def test_a_fault_of_the_listener_is_not_taken_for_the_models() -> None:
    def faulty(delta: Delta) -> None:
        raise KeyError(delta.index)

    async with running(in_order(Turn("ok"))) as server:
        model = connect(server.url)
        with pytest.raises(KeyError):
            await model.respond(CALL, faulty)
        await model.close()


async def test_a_date_in_retry_after_counts_from_the_servers_own_date() -> None:
    dates = {"date": "Thu, 01 Jan 2026 10:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 10:00:30 GMT"}
    async with bare(http("{}", dates, "429 Too Many Requests")) as url:
        model = connect(url)
        with pytest.raises(ModelFailure) as caught:
            await model.respond(CALL, ignore)
        await model.close()
    assert caught.value.retry_after == 30.0


async def report(turn: Turn | HttpError) -> Any:
    async with running(in_order(turn)) as server:
        model = connect(server.url)
        found = await probe(model, "main", ModelProfile("main", "any"), SystemClock())
        await model.close()
    return found


async def test_the_probe_reports_what_an_endpoint_can_do() -> None:
    found = await report(Turn(Thinking("t"), "ready", ToolUse("report_number", {"number": 7})))
    assert (found.works, found.streams, found.tool_call, found.usage, found.cache_fields) == (True,) * 5
    assert (found.thinking, found.stop_reason, found.problem) == (True, "tool_use", None)
    assert 0 < found.first_block <= found.first_text <= found.total


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (Turn("7"), "no tool was called"),
        (Turn(ToolUse("report_number", {"number": "7"})), "breaks its schema"),
        (Turn(ToolUse("report_number", raw="{")), "no JSON object"),
    ],
)
async def test_the_probe_says_what_is_wrong_with_a_tool_call(turn: Turn, said: str) -> None:
    found = await report(turn)
    assert not found.works
    assert said in found.tool_problem


async def test_the_probe_reports_a_failure_instead_of_raising_it() -> None:
    found = await report(HttpError(401, "authentication_error", "bad key"))
    assert (found.works, found.problem) == (False, "The model's server answered 401: bad key")


async def test_the_builtin_server_can_be_supervised_on_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    model = connect("http://m", path=path)
    async with anyio.create_task_group() as group:
        group.start_soon(serve_on, listener, BUILTIN)
        reply = await model.respond(ModelCall("scripted", {**BODY, "model": "echo"}, "s", 1), ignore)
        assert reply.content[0]["text"] == "hello"
        group.cancel_scope.cancel()
    await model.close()
