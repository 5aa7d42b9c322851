"""The SDK's own helpers and its asynchronous client, used as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, beta_async_tool
from conftest_types import CUSTOM, Play
from live_server import Server
from session_talk import confirm, message
from strict_wire import Inspector, StrictAsyncTransport
from turns import TOOLSET, every, only, text_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def asynchronous(server: Server, inspector: Inspector) -> AsyncGenerator[AsyncAnthropic]:
    transport = StrictAsyncTransport(inspector)
    async with AsyncAnthropic(
        base_url=server.url, api_key=server.key, max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        yield client


@beta_async_tool(name="lookup")
async def lookup(key: str) -> str:
    """Look something up."""
    return f"value of {key}"


@requirement("helpers:history-then-stream", "helpers:results-echoed", "helpers:ended")
async def test_the_sdks_runner_answers_custom_tools_until_the_session_ends(
    play: Play, asynchronous: AsyncAnthropic
) -> None:
    uses = Turn(ToolUse("lookup", {"key": "a"}), ToolUse("lookup", {"key": "b"}))
    talk = play(uses, Turn("Done."), tools=[CUSTOM])
    talk.say("go")
    done: list[Any] = []
    async with asyncio.timeout(20):
        async for call in asynchronous.beta.sessions.events.tool_runner(talk.id, tools=[lookup]):
            done.append(call)
            if len(done) == 2:
                await asyncio.to_thread(talk.wait)
                talk.client.beta.sessions.archive(talk.id)
    assert len(done) == 2
    results = every(talk.history(), "user.custom_tool_result")
    assert sorted(text_of(one) for one in results) == ["value of a", "value of b"]
    assert text_of(only(talk.history(), "agent.message")) == "Done."


@requirement("helpers:ended")
async def test_the_sdks_runner_ends_when_the_session_is_deleted(play: Play, asynchronous: AsyncAnthropic) -> None:
    talk = play(Turn(ToolUse("lookup", {"key": "a"})), Turn("Done."), tools=[CUSTOM])
    talk.say("go")
    async with asyncio.timeout(20):
        async for _ in asynchronous.beta.sessions.events.tool_runner(talk.id, tools=[lookup]):
            await asyncio.to_thread(talk.wait)
            talk.client.beta.sessions.delete(talk.id)


@requirement("helpers:quiet-idle")
async def test_the_sdks_runner_leaves_an_idle_session_after_its_countdown(
    play: Play, asynchronous: AsyncAnthropic
) -> None:
    talk = play(Turn("Nothing to do."), tools=[CUSTOM])
    talk.say("go")
    async with asyncio.timeout(20):
        runner = asynchronous.beta.sessions.events.tool_runner(talk.id, tools=[lookup], max_idle=1.5)
        assert [call async for call in runner] == []
    assert talk.status() == "idle"


@requirement("transport:response:types")
async def test_the_asynchronous_client_goes_the_whole_way(
    asynchronous: AsyncAnthropic, play: Play, inspector: Inspector
) -> None:
    asking: dict[str, Any] = TOOLSET | {"default_config": {"permission_policy": {"type": "always_ask"}}}
    talk = play(Turn(ToolUse("glob", {"pattern": "*"})), Turn("Done."), tools=[asking])
    events = asynchronous.beta.sessions.events
    before = inspector.seen
    seen: list[str] = []
    async with asyncio.timeout(20), await events.stream(talk.id, event_deltas=["agent.message"]) as stream:
        hello: Any = message("go")
        await events.send(talk.id, events=[hello])
        async for event in stream:
            seen.append(event.type)
            if event.type == "session.status_idle":
                if event.stop_reason.type == "end_turn":
                    break
                assert event.stop_reason.type == "requires_action"
                answer: Any = confirm(event.stop_reason.event_ids[0], "allow")
                await events.send(talk.id, events=[answer])
    assert inspector.seen - before > len(seen)
    assert {"event_start", "event_delta", "agent.tool_use", "agent.tool_result", "agent.message"} <= set(seen)
    stored = [event.type async for event in events.list(talk.id, limit=4)]
    assert stored[-1] == "session.status_idle"
    session = await asynchronous.beta.sessions.retrieve(talk.id)
    assert session.status == "idle"
    listed = [one.id async for one in asynchronous.beta.sessions.list(agent_id=session.agent.id)]
    assert listed == [talk.id]
    await asynchronous.beta.sessions.delete(talk.id)
