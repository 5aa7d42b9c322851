"""The SDK's own workers, unmodified, against this server: `EnvironmentWorker` and `SessionToolRunner`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_async_tool
from anthropic.lib.environments import iter_work
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401
from conftest_types import CUSTOM, Play
from cutting_proxy import CuttingProxy
from live_server import Server
from session_talk import Talk, confirm
from strict_wire import Inspector, StrictAsyncTransport
from turns import TOOLSET, every, only, text_of
from workers import environment_of, key_of, live_work, until, until_no_work, working

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

pytestmark = pytest.mark.anyio
ASKING: dict[str, Any] = TOOLSET | {"default_config": {"permission_policy": {"type": "always_ask"}}}
BASH = ToolUse("bash", {"command": "echo from $PWD; echo made > made.txt"})


@beta_async_tool(name="lookup")
async def lookup(key: str) -> str:
    """Look something up."""
    return f"value of {key}"


def both(context: AgentToolContext) -> list[Any]:
    return [*beta_agent_toolset_20260401(context), lookup]


@pytest.fixture
def place(client: Anthropic) -> tuple[str, str]:
    """An environment of its own for each test, and its key."""
    environment = environment_of(client)
    return environment, key_of(client, environment)


async def rested(talk: Talk) -> None:
    await asyncio.to_thread(talk.wait, "idle", 60)


async def answered(talk: Talk, text: str) -> None:
    """Wait until the agent has said this."""
    await until(lambda: text in [text_of(one) for one in every(talk.history(), "agent.message")])


@requirement("helpers:environment-worker")
async def test_the_sdks_worker_runs_built_in_and_custom_tools_of_a_session(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], inspector: Inspector, tmp_path: Path
) -> None:
    reading = ToolUse("read", {"file_path": "made.txt"})
    turns = (Turn(BASH, ToolUse("lookup", {"key": "a"})), Turn(reading), Turn("Done."))
    talk = play(*turns, tools=[TOOLSET, CUSTOM], environment_id=place[0])
    talk.say("go")
    http = httpx2.AsyncClient(transport=StrictAsyncTransport(inspector))
    async with working(server.url, *place, tmp_path / "w", tools=both, http_client=http):
        await answered(talk, "Done.")
        await until_no_work(client, place[0])
    results = [text_of(one) for one in every(talk.history(), "user.tool_result")]
    assert results[0].strip() == f"from {tmp_path / 'w'}"
    assert "made" in results[1]
    assert text_of(only(talk.history(), "user.custom_tool_result")) == "value of a"
    (item,) = client.beta.environments.work.list(place[0])
    assert (item.state, item.data.id, item.secret) == ("stopped", talk.id, None)
    assert item.acknowledged_at
    assert item.started_at
    assert item.latest_heartbeat_at
    assert item.stopped_at


async def test_a_message_after_the_worker_has_left_brings_one_again(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    talk = play(Turn(BASH), Turn("One."), Turn(BASH), Turn("Two."), tools=[TOOLSET], environment_id=place[0])
    async with working(server.url, *place, tmp_path / "w"):
        for word in ("One.", "Two."):
            talk.say("go")
            await answered(talk, word)
            await until_no_work(client, place[0])
    assert len(list(client.beta.environments.work.list(place[0]))) == 2


async def test_a_worker_waits_for_a_confirmation_and_runs_what_was_allowed(
    play: Play, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    talk = play(Turn(BASH, BASH), Turn("Done."), tools=[ASKING], environment_id=place[0])
    talk.say("go")
    async with working(server.url, *place, tmp_path / "w"):
        await rested(talk)
        allowed, denied = talk.history()[-1].stop_reason.event_ids
        talk.send(confirm(denied, "deny"))
        talk.send(confirm(allowed, "allow"))
        await answered(talk, "Done.")
    assert only(talk.history(), "user.tool_result").tool_use_id == allowed


async def test_an_interrupt_ends_the_turn_while_a_worker_runs_a_call(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    slow = ToolUse("bash", {"command": "touch begun; until [ -e go ]; do sleep 0.05; done"})
    talk = play(Turn(slow), Turn("Again."), tools=[TOOLSET], environment_id=place[0])
    talk.say("go")
    async with working(server.url, *place, tmp_path / "w"):
        await until((tmp_path / "w" / "begun").exists)
        talk.send({"type": "user.interrupt"})
        await rested(talk)
        assert talk.history()[-1].stop_reason.type == "end_turn"
        await asyncio.to_thread((tmp_path / "w" / "go").touch)
        talk.say("go on")
        await answered(talk, "Again.")
    assert len(every(talk.history(), "user.tool_result")) == 1


@requirement("environments:self-hosted:queued", "work:stats")
async def test_without_a_worker_a_session_waits_with_its_item_queued(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    talk = play(Turn(BASH), Turn("Done."), tools=[TOOLSET], environment_id=place[0])
    assert live_work(client, place[0]) == []
    talk.say("go")
    await rested(talk)
    (item,) = live_work(client, place[0])
    assert (item.state, item.data.id) == ("queued", talk.id)
    stats = client.beta.environments.work.stats(place[0])
    assert (stats.depth, stats.pending, stats.oldest_queued_at) == (1, 0, item.created_at)
    async with working(server.url, *place, tmp_path / "w"):
        await answered(talk, "Done.")
    assert client.beta.environments.work.stats(place[0]).workers_polling == 1


@requirement("work:none-left")
@pytest.mark.timeout(150)
async def test_twenty_sessions_in_a_row_leave_no_work_behind(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    first = play(decide=_once_each, tools=[TOOLSET], environment_id=place[0])
    agent = client.beta.sessions.retrieve(first.id).agent.id
    talks = [first]
    for _ in range(19):
        opened = client.beta.sessions.create(agent=agent, environment_id=place[0])
        talks.append(Talk(client, opened.id))
    for talk in talks:
        talk.say("go")
    async with working(server.url, *place, tmp_path / "w", max_idle=0.05):
        for talk in talks:
            await answered(talk, "Done.")
        await until_no_work(client, place[0])
    items = list(client.beta.environments.work.list(place[0]))
    assert sorted(item.data.id for item in items) == sorted(talk.id for talk in talks)
    stats = client.beta.environments.work.stats(place[0])
    assert (stats.depth, stats.pending, stats.oldest_queued_at) == (0, 0, None)


def _once_each(request: Any) -> Turn:
    return Turn("Done.") if request.body["messages"][-1]["content"][0]["type"] == "tool_result" else Turn(BASH)


@requirement("work:twice")
@pytest.mark.timeout(150)
async def test_two_workers_share_a_queue_and_serve_nothing_twice(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    first = play(decide=_once_each, tools=[TOOLSET], environment_id=place[0])
    agent = client.beta.sessions.retrieve(first.id).agent.id
    talks = [first]
    talks += [Talk(client, client.beta.sessions.create(agent=agent, environment_id=place[0]).id) for _ in range(11)]
    for talk in talks:
        talk.say("go")
    served: list[tuple[int, str]] = []
    async with (
        working(server.url, *place, tmp_path / "one", tools=_noting(1, served), max_idle=0.05),
        working(server.url, *place, tmp_path / "two", tools=_noting(2, served), max_idle=0.05),
    ):
        for talk in talks:
            await answered(talk, "Done.")
        await until_no_work(client, place[0])
    assert sorted(session for _, session in served) == sorted(talk.id for talk in talks)
    assert {worker for worker, _ in served} == {1, 2}
    for talk in talks:
        assert len(every(talk.history(), "user.tool_result")) == 1


@requirement("helpers:repeats-harmless")
@pytest.mark.parametrize("retries", [2, 0], ids=["sent again by the client", "sent again by the runner"])
async def test_a_result_whose_answer_was_lost_is_sent_again_and_taken_once(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path, retries: int
) -> None:
    noting = ToolUse("bash", {"command": "echo ran >> ran.txt; cat ran.txt"})
    talk = play(Turn(noting), Turn(noting), Turn("Done."), tools=[TOOLSET], environment_id=place[0])
    talk.say("go")
    async with CuttingProxy(int(server.url.rpartition(":")[2])).open() as proxy:
        proxy.cut_after(b'"user.tool_result"')
        async with working(f"http://127.0.0.1:{proxy.port}", *place, tmp_path / "w", max_retries=retries):
            await answered(talk, "Done.")
            await until_no_work(client, place[0])
        assert proxy.cuts == 1
    assert [text_of(one).split() for one in every(talk.history(), "user.tool_result")] == [["ran"], ["ran", "ran"]]


def _noting(worker: int, served: list[tuple[int, str]]) -> Callable[[AgentToolContext], list[Any]]:
    def tools(context: AgentToolContext) -> list[Any]:
        session: Any = context.session
        served.append((worker, session.id))
        return [*beta_agent_toolset_20260401(context)]

    return tools


async def test_a_worker_that_leaves_a_waiting_session_leaves_it_to_the_next(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    talk = play(Turn(BASH), Turn("Done."), tools=[ASKING], environment_id=place[0])
    talk.say("go")
    async with working(server.url, *place, tmp_path / "w"):
        await until(lambda: [item.state for item in live_work(client, place[0])] == ["active"])
        await rested(talk)
    (left,) = live_work(client, place[0])
    assert left.state == "queued"
    async with working(server.url, *place, tmp_path / "w"):
        talk.send(confirm(talk.history()[-1].stop_reason.event_ids[0], "allow"))
        await answered(talk, "Done.")
        await until_no_work(client, place[0])
    assert len(every(talk.history(), "user.tool_result")) == 1


@requirement("helpers:environment-worker")
async def test_an_item_that_a_poller_took_is_served_by_a_worker_that_knows_its_secret_alone(
    play: Play,
    client: Anthropic,
    server: Server,
    place: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a dispatcher starts a container for each item, by the variables that the SDK's own tools set."""
    talk = play(Turn(BASH), Turn("Done."), tools=[TOOLSET], environment_id=place[0])
    talk.say("go")
    await rested(talk)
    async with asyncio.timeout(60), AsyncAnthropic(base_url=server.url, api_key="not-a-key") as own:
        work = own.beta.environments.work
        names: dict[str, Any] = {"environment_id": place[0], "environment_key": place[1]}
        taken = [item async for item in work.poller(**names, drain=True, auto_stop=False, block_ms=None)]
        (item,) = taken
        assert item.secret is not None
        for name, value in (("WORK_ID", item.id), ("ENVIRONMENT_ID", place[0]), ("SESSION_ID", item.data.id)):
            monkeypatch.setenv(f"ANTHROPIC_{name}", value)
        monkeypatch.setenv("ANTHROPIC_WORK_SECRET", item.secret)
        await work.worker(workdir=tmp_path, max_idle=0.2).handle_item()
    assert text_of(only(talk.history(), "agent.message")) == "Done."
    assert live_work(client, place[0]) == []


def test_a_poller_stops_what_its_reader_is_done_with_and_a_session_that_still_waits_is_queued_again(
    play: Play, client: Anthropic, server: Server, place: tuple[str, str]
) -> None:
    talk = play(Turn(BASH), Turn("Done."), tools=[TOOLSET], environment_id=place[0])
    talk.say("go")
    talk.wait()
    with server.client() as base:
        work = base.with_options(api_key=place[1]).beta.environments.work
        poller: Any = iter_work(work, environment_id=place[0])
        assert [next(poller).data.id, next(poller).data.id] == [talk.id, talk.id]
        assert [item.state for item in client.beta.environments.work.list(place[0])] == ["starting", "stopped"]
        poller.close()
    assert [item.state for item in live_work(client, place[0])] == ["queued"]


async def test_the_sdks_runner_alone_serves_a_session_with_an_environments_key(
    play: Play, server: Server, place: tuple[str, str], tmp_path: Path
) -> None:
    talk = play(Turn(BASH), Turn("Done."), tools=[TOOLSET], environment_id=place[0])
    talk.say("go")
    async with (
        asyncio.timeout(60),
        AsyncAnthropic(base_url=server.url, api_key=place[1]) as own,
        AgentToolContext(workdir=tmp_path) as context,
    ):
        tools: Any = beta_agent_toolset_20260401(context)
        runner = own.beta.sessions.events.tool_runner(talk.id, tools=tools, max_idle=0.2)
        calls = [call async for call in runner]
    assert [(call.name, call.posted, call.is_error) for call in calls] == [("bash", True, False)]
    assert text_of(only(talk.history(), "agent.message")) == "Done."
