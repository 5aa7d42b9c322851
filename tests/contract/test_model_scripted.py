"""The scripted server, driven by the unmodified official client over real HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import pytest
from anthropic import (
    APIConnectionError,
    AsyncAnthropic,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
)
from anthropic.types.beta import BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from outrider.clock import ManualClock
from outrider.models.scripted import (
    Barrier,
    Control,
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
    by_turn,
    in_order,
    running,
    serve_on,
)

pytestmark = pytest.mark.anyio

HELLO: dict[str, Any] = {"model": "any", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
BASH: dict[str, Any] = {"name": "bash", "input_schema": {"type": "object"}}


@asynccontextmanager
async def serving(script: Script, **options: Any) -> AsyncGenerator[tuple[AsyncAnthropic, Control]]:
    async with running(script, **options) as server, sdk(server.url) as client:
        yield client, server.control


def sdk(url: str, key: str = "k") -> AsyncAnthropic:
    return AsyncAnthropic(api_key=key, base_url=url, max_retries=0)


async def final(client: AsyncAnthropic, **body: Any) -> Any:
    async with client.beta.messages.stream(**{**HELLO, **body}) as stream:
        return await stream.get_final_message()


async def test_the_official_client_streams_every_kind_of_block() -> None:
    turn = Turn(
        Thinking("Let me ", "see.", signature="sig"),
        Redacted("opaque"),
        Text("Hel", "lo"),
        ToolUse("bash", {"command": "ls"}, id="toolu_1"),
        ToolUse("bash", {"command": "pwd"}),
        usage=Usage(7, 9, cache_read_input_tokens=5, cache_creation_input_tokens=3),
    )
    async with serving(in_order(turn)) as (client, _):
        message = await final(client, tools=[BASH])
    kinds = [block.type for block in message.content]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert (message.content[0].thinking, message.content[0].signature) == ("Let me see.", "sig")
    assert message.content[3].input == {"command": "ls"}
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 9)
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (5, 3)


async def test_every_frame_parses_strictly_as_the_sdks_type() -> None:
    citation = {
        "type": "char_location",
        "cited_text": "a",
        "document_index": 0,
        "document_title": None,
        "file_id": None,
        "start_char_index": 0,
        "end_char_index": 1,
    }
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    turn = Turn(Thinking("t"), Redacted("r"), Text("a", citations=[citation]), Raw(search), ToolUse("bash", {"a": 1}))
    adapter: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)
    async with running(in_order(turn)) as server, httpx2.AsyncClient() as client:
        headers = {"anthropic-version": "x"}
        response = await client.post(f"{server.url}/v1/messages", json={**HELLO, "stream": True}, headers=headers)
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    for event in events:
        if event["type"] != "ping":
            adapter.validate_python(event, strict=True)
    assert [event["type"] for event in events][:2] == ["message_start", "content_block_start"]
    assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]


async def test_the_answer_is_the_same_without_streaming() -> None:
    turn = Turn(Thinking("hm"), "Hello", ToolUse("bash", {"command": "ls"}))
    async with serving(by_turn(turn)) as (client, _):
        streamed = await final(client, tools=[BASH])
        whole: Any = await cast(Any, client).beta.messages.create(**HELLO, tools=[BASH])
    assert [one.model_dump() for one in whole.content] == [
        {key: value for key, value in one.model_dump().items() if key != "parsed_output"} for one in streamed.content
    ]
    assert (whole.stop_reason, whole.usage.input_tokens) == (streamed.stop_reason, streamed.usage.input_tokens)


@pytest.mark.parametrize("stop_reason", ["max_tokens", "pause_turn", "refusal"])
async def test_a_turn_can_stop_for_other_reasons(stop_reason: str) -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"} if stop_reason == "refusal" else None
    async with serving(in_order(Turn("x", stop_reason=stop_reason, stop_details=details))) as (client, _):
        message = await final(client)
    assert message.stop_reason == stop_reason
    assert (message.stop_details and message.stop_details.category) == (details and "cyber")


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (HttpError(429, "rate_limit_error", "slow down", retry_after="7"), RateLimitError),
        (HttpError(529, "overloaded_error"), OverloadedError),
        (HttpError(500), InternalServerError),
        (HttpError(400, "invalid_request_error"), BadRequestError),
        (HttpError(401, "authentication_error"), AuthenticationError),
    ],
)
async def test_an_http_error_is_the_clients_own_exception(failure: HttpError, raised: type[Exception]) -> None:
    async with serving(in_order(failure)) as (client, _):
        with pytest.raises(raised) as caught:
            await final(client)
    assert cast(Any, caught.value).response.headers.get("retry-after") == failure.retry_after


async def test_a_stream_can_be_cut_or_end_in_an_error_event() -> None:
    async with serving(in_order(Turn(Text("a", Cut())), Turn(Text("a", ErrorEvent())))) as (client, control):
        with pytest.raises((APIConnectionError, httpx2.RemoteProtocolError)):
            await final(client)
        with pytest.raises(Exception, match="Overloaded"):
            await final(client)
        assert [(await control.answered(number)).outcome for number in (1, 2)] == ["cut", "done"]


async def test_a_stream_stands_at_a_barrier_until_it_is_released() -> None:
    seen: list[str] = []
    async with serving(in_order(Turn(Text("one ", "two ", Barrier("X"), "three")))) as (client, control):

        async def read() -> None:
            async with client.beta.messages.stream(**HELLO) as stream:
                async for text in stream.text_stream:
                    seen.append(text)  # noqa: PERF401 - looked at while it grows

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await control.arrived("X")
            with anyio.fail_after(10):
                while len(seen) < 2:
                    await anyio.wait_all_tasks_blocked()
            assert seen == ["one ", "two "]
            assert control.requests[0].outcome == ""
            control.release("X")
    assert seen == ["one ", "two ", "three"]


async def test_a_client_that_hangs_up_at_a_barrier_is_noticed() -> None:
    async with serving(in_order(Turn(Text("one", Barrier("X"))))) as (client, control):
        async with client.beta.messages.stream(**HELLO) as stream:
            await anext(aiter(stream.text_stream))
        assert (await control.answered(1)).outcome == "gone"


async def test_a_request_that_the_script_does_not_know_fails_loudly() -> None:
    async with serving(by_turn(Turn("one", expect=lambda request: "no tools" if not request.tools else None))) as (
        client,
        control,
    ):
        with pytest.raises(InternalServerError, match="no tools"):
            await final(client)
        second = [*HELLO["messages"], {"role": "assistant", "content": "one"}, {"role": "user", "content": "two"}]
        with pytest.raises(InternalServerError, match="turn 2, but the script has 1 turns"):
            await final(client, messages=second)
    assert len(control.unexpected) == 2


async def test_requests_are_kept_with_body_and_headers() -> None:
    async with serving(in_order(Turn("ok"))) as (client, control):
        await final(client, system="be brief")
    (kept,) = control.requests
    assert (kept.body["system"], kept.body["stream"], kept.path) == ("be brief", True, "/v1/messages")
    assert "anthropic-version" in kept.headers


async def test_caching_follows_the_breakpoints_of_the_request() -> None:
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "x" * 4000, "cache_control": mark}]
    first = [{"role": "user", "content": [{"type": "text", "text": "y" * 400, "cache_control": mark}]}]
    more = [
        {"role": "user", "content": [{"type": "text", "text": "y" * 400}]},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": [{"type": "text", "text": "z" * 40, "cache_control": mark}]},
    ]
    clock = ManualClock()
    async with serving(Script(lambda request: Turn("ok")), cache_minimum=0, clock=clock) as (client, _):
        one = (await final(client, system=system, messages=first)).usage
        two = (await final(client, system=system, messages=more)).usage
        other = (await final(client, system="changed", messages=more)).usage
        clock.advance(301)
        late = (await final(client, system=system, messages=more)).usage
    assert (one.cache_read_input_tokens, one.input_tokens) == (0, 0)
    assert one.cache_creation_input_tokens > 1000
    assert two.cache_read_input_tokens == one.cache_creation_input_tokens
    assert 0 < two.cache_creation_input_tokens < 100
    assert other.cache_read_input_tokens == 0
    assert late.cache_read_input_tokens == 0


async def test_tokens_can_be_counted_and_models_listed() -> None:
    async with running() as server, sdk(server.url) as client:
        counted = await client.beta.messages.count_tokens(model="echo", messages=HELLO["messages"])
        listed = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("demo")
        with pytest.raises(NotFoundError):
            await client.models.retrieve("nobody")
    assert counted.input_tokens > 0
    assert listed == ["demo", "echo", "tools", "think", "refuse"]
    assert one.id == "demo"


def use(identity: str, **extra: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": identity, "name": "bash", "input": {}, **extra}


def result(identity: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identity, "content": "ok"}


def talk(*turns: Any) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number, content in enumerate(turns)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": talk("")}, "non-empty content"),
        ({"messages": talk([{"type": "text", "text": ""}])}, "text content blocks must be non-empty"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message must use the user role"),
        ({"messages": talk("a", "b")}, "prefill"),
        ({"messages": talk("a", [use("t1")])}, "prefill"),
        ({"messages": talk("a", [use("t1")], "no result")}, "without `tool_result` blocks immediately after: t1"),
        ({"messages": talk("a", [use("t1")], [result("t2")])}, "unexpected `tool_use_id`"),
        ({"messages": talk("a", [use("t1")], [result("t1"), result("t1")])}, "single result"),
        ({"messages": talk("a", [use("t1")], [{"type": "text", "text": "x"}, result("t1")])}, "must come first"),
        ({"messages": talk("a", [use("t1"), use("t1")], [result("t1")])}, "ids must be unique"),
        (
            {"messages": talk("a", [{"type": "thinking", "thinking": "x", "signature": "0" * 64}], "b")},
            "Invalid `signature`",
        ),
        ({"extra_body": {"colour": "red"}}, "colour: Extra inputs are not permitted"),
        ({"tools": [BASH, BASH]}, "Tool names must be unique"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, "String should match pattern"),
        ({"tools": [BASH], "tool_choice": {"type": "tool", "name": "nobody"}}, "not found in provided tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "must be greater than `thinking.budget_tokens`"),
        ({"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}] * 5}, "A maximum of 4"),
    ],
)
async def test_a_request_that_the_api_refuses_is_refused(body: dict[str, Any], said: str) -> None:
    extra = body.pop("extra_body", {})
    sent = {key: value for key, value in {**HELLO, **body, **extra}.items() if value is not None}
    async with running(by_turn(Turn("ok"))) as server, httpx2.AsyncClient() as client:
        response = await client.post(f"{server.url}/v1/messages", json=sent, headers={"anthropic-version": "x"})
    assert response.status_code == 400
    assert said in response.json()["error"]["message"]
    assert server.control.requests[0].outcome == "refused"


async def test_thinking_must_come_back_with_the_tool_results_it_led_to() -> None:
    script = by_turn(Turn(Thinking("why"), ToolUse("bash", {})), Turn("done"))
    body: dict[str, Any] = {"tools": [BASH], "max_tokens": 3000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    async with serving(script) as (client, _):
        reply = await final(client, **body)
        content = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in reply.content]
        results = [result(content[1]["id"])]
        assert (await final(client, **body, messages=talk("hello", content, results))).stop_reason == "end_turn"
        for changed in (content[1:], [{**content[0], "thinking": "else"}, content[1]]):
            with pytest.raises(BadRequestError, match="thinking"):
                await final(client, **body, messages=talk("hello", changed, results))


async def test_a_wrong_key_an_unknown_model_and_an_unknown_route_are_refused() -> None:
    async with running(key="right") as server:
        async with sdk(server.url, "wrong") as client:
            with pytest.raises(AuthenticationError):
                await final(client, model="echo")
        async with sdk(server.url, "right") as client:
            assert (await final(client, model="echo")).content[0].text == "hello"
            with pytest.raises(NotFoundError, match="model: nobody"):
                await final(client, model="nobody")
            with pytest.raises(NotFoundError, match="no such route"):
                await client.get("/v2/else", cast_to=object)


async def test_it_serves_on_a_unix_socket_that_the_caller_owns(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    message: Any = None
    async with anyio.create_task_group() as group:
        group.start_soon(serve_on, listener)
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport) as http:
            client = AsyncAnthropic(api_key="k", base_url="http://model", http_client=http, max_retries=0)
            message = await final(client, model="think")
        group.cancel_scope.cancel()
    assert [block.type for block in message.content] == ["thinking", "text"]


CROSS = in_order(Turn(Text("one ", Barrier("gate"), "two")))


async def test_barriers_and_requests_can_be_reached_from_another_process() -> None:
    command = [sys.executable, "-m", "outrider.models.scripted", "--control", "--until-eof"]
    command += ["--script", "test_model_scripted:CROSS"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen(  # noqa: ASYNC220 - one short-lived child; its pipe is read in a thread
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    try:
        assert process.stdout is not None
        url = json.loads(await anyio.to_thread.run_sync(process.stdout.readline))["url"]
        async with sdk(url) as client, httpx2.AsyncClient(base_url=url) as control, anyio.create_task_group() as group:
            group.start_soon(lambda: final(client))
            arrived = await control.get("/control/barriers/gate/arrived", params={"timeout": 10})
            assert (arrived.status_code, arrived.json()) == (200, ["gate"])
            late = await control.get("/control/barriers/gate/arrived", params={"count": 2, "timeout": 0})
            assert late.status_code == 408
            await control.post("/control/barriers/gate/release")
            kept = (await control.get("/control/requests/1")).json()
            assert (kept["outcome"], kept["body"]["model"]) == ("done", "any")
            assert (await control.get("/control/unexpected")).json() == []
            assert (await control.get("/control/else")).status_code == 404
    finally:
        process.communicate(timeout=10)  # closes its standard input, which ends it
    assert process.returncode == 0
