"""Several random clients at one session at once. Which of two requests comes first nobody can say; what must hold
whatever came first: nothing is lost, doubled or left open, and stream and list tell one story."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Generator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from conftest_types import CUSTOM
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk, confirm, message, result

from outrider.models.scripted.script import Answer, Request, ToolUse, Turn, blocks

CONFIG = "[limits]\nheartbeat = 0.1\nreplay_window = 0.2\n"
TOOLS: Any = [
    CUSTOM,
    {
        "type": "agent_toolset_20260401",
        "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
    },
]
CALLS = {
    "look up": ToolUse("lookup", {"key": "k"}),
    "ask": ToolUse("bash", {"command": "true"}),
    "list": ToolUse("glob", {"pattern": "*"}),
}
SECONDS = 30.0
ACTS = ["say", "look up", "ask", "list", "look up and ask", "interrupt", "answer", "answer", "answer", "deny"]
CI = bool(os.environ.get("CI"))
_models = itertools.count(1)


@pytest.fixture(scope="module")
def quick(stage: Stage) -> Generator[Server]:
    with data_directory() as data, serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def quick_client(quick: Server) -> Generator[Anthropic]:
    with quick.client() as client:
        yield client


def decide(request: Request) -> Answer:
    """Calls what the last message names, once; then words."""
    if any(block["type"] == "tool_result" for block in blocks(request.messages[-1])):
        return Turn("Done.", chunk=1)
    calls = [CALLS[name] for name in CALLS if name in request.last_text()]
    return Turn("Well.", *calls, chunk=1)


class Racer:
    """One of the clients: does its acts as fast as it can, and remembers what was taken."""

    def __init__(self, talk: Talk, name: str, acts: list[str]) -> None:
        self._talk = talk
        self._name = name
        self._acts = acts
        self.taken: list[str] = []
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            for number, act in enumerate(self._acts):
                self._do(act, f"{act} ({self._name} {number})")
        except BaseException as failure:
            self.failure = failure

    def _do(self, act: str, text: str) -> None:
        events = self._events(act, text)
        if not events:
            return
        try:
            self._talk.send(*events)
        except anthropic.BadRequestError:
            return  # the other client was quicker
        if events[0]["type"] == "user.message":
            self.taken.append(text)

    def _events(self, act: str, text: str) -> list[dict[str, Any]]:
        if act == "interrupt":
            return [{"type": "user.interrupt"}]
        if act not in ("answer", "deny"):
            return [message(text)]
        verdict = "deny" if act == "deny" else "allow"
        return [answer for use in awaited(self._talk.history()) if (answer := answer_to(use, verdict))]


def awaited(history: list[Any]) -> list[Any]:
    """Uses that have no result yet and wait for a client."""
    answered = set(results(history))
    uses = [event for event in history if event.type in ("agent.custom_tool_use", "agent.tool_use")]
    return [use for use in uses if use.id not in answered and getattr(use, "evaluated_permission", "ask") == "ask"]


def answer_to(use: Any, verdict: str) -> dict[str, Any]:
    return result(use.id, "value") if use.type == "agent.custom_tool_use" else confirm(use.id, verdict)


def results(history: list[Any]) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in history:
        if event.type == "agent.tool_result":
            found[event.tool_use_id] += 1
        elif event.type == "user.custom_tool_result":
            found[event.custom_tool_use_id] += 1
    return found


@pytest.mark.timeout(240)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=CI,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(scripts=st.lists(st.lists(st.sampled_from(ACTS), min_size=6, max_size=15), min_size=3, max_size=3))
def test_clients_that_race_leave_one_whole_story(
    quick_client: Anthropic, stage: Stage, scripts: list[list[str]]
) -> None:
    model = stage.put(f"race-{next(_models)}", decide=decide)
    agent = quick_client.beta.agents.create(name="race", model=model, tools=TOOLS)
    environment = quick_client.beta.environments.create(name="race")
    session = quick_client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    talk = Talk(quick_client, session.id)
    with talk.stream() as reader:
        racers = [Racer(talk, f"client {number}", acts) for number, acts in enumerate(scripts)]
        for racer in racers:
            racer.thread.start()
        for racer in racers:
            racer.thread.join(SECONDS)
            assert not racer.thread.is_alive()
            assert racer.failure is None, racer.failure
        bring_to_rest(talk)
        history = talk.history()
        if history:
            reader.until(lambda event: event.id == history[-1].id)
        quick_client.beta.sessions.delete(talk.id)
        assert reader.ended.wait(SECONDS)
    check(history, [text for racer in racers for text in racer.taken])
    streamed = [event.id for event in reader.events if event.processed_at is not None]
    assert list(dict.fromkeys(streamed)) == [event.id for event in history]


def bring_to_rest(talk: Talk) -> None:
    """Interrupts until nothing is awaited, nothing is queued and the session is idle."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        talk.wait(seconds=SECONDS)
        history = talk.history()
        settled = all(event.processed_at is not None for event in history) and not awaited(history)
        if settled and turns(history)[-1:] in ([], ["session.status_idle"]):
            return
        if awaited(history):
            talk.send({"type": "user.interrupt"})
    raise AssertionError([event.type for event in talk.history()])


def check(history: list[Any], taken: list[str]) -> None:
    """What holds after every race."""
    assert len({event.id for event in history}) == len(history)
    said = [event.content[0].text for event in history if event.type == "user.message"]
    assert sorted(said) == sorted(taken)
    for name in {text.partition("(")[2].rpartition(" ")[0] for text in taken}:
        assert [text for text in said if name in text] == [text for text in taken if name in text], "out of order"
    uses = [event.id for event in history if event.type in ("agent.custom_tool_use", "agent.tool_use")]
    assert results(history) == Counter(uses)
    starts = [event.id for event in history if event.type == "span.model_request_start"]
    ends = [event.model_request_start_id for event in history if event.type == "span.model_request_end"]
    assert sorted(starts) == sorted(ends)
    for before, after in itertools.pairwise(turns(history)):
        assert (before, after) != ("session.status_running", "session.status_running")


def turns(history: list[Any]) -> list[str]:
    return [event.type for event in history if event.type in ("session.status_running", "session.status_idle")]
