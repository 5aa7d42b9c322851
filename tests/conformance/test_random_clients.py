"""Random clients against a real server: what it accepts, its statuses and its histories are those of a small
reference model of a session (`reference_model`), whatever is sent in whatever order."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest
import reference_model as reference
from anthropic import Anthropic
from conftest_types import CUSTOM
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import Server, Stage, data_directory, serving
from reference_model import Confirm, Event, Interrupt, Message, Prompt, Refused, Result
from session_talk import Reader, Talk, confirm, message, result

from outrider.models.scripted.script import Answer, Barrier, Request, ToolUse, Turn, blocks

CONFIG = "[limits]\nheartbeat = 0.1\nreplay_window = 0.2\n"
TOOLS: Any = [
    CUSTOM,
    {
        "type": "agent_toolset_20260401",
        "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
    },
]
CALLS = {
    reference.CUSTOM: ToolUse("lookup", {"key": "k"}),
    reference.ASKED: ToolUse("bash", {"command": "true"}),
    reference.ALLOWED: ToolUse("glob", {"pattern": "*"}),
}
USE_TYPES = ("agent.tool_use", "agent.custom_tool_use")
UNKNOWN = "sevt_unknown"
_models = itertools.count(1)

# -- what a client may do

stages = st.builds(reference.Stage, st.booleans(), st.sampled_from(["c", "a", "cc", "ca", "ac", "rc", "aca", "r", ""]))
prompts = st.lists(stages, min_size=1, max_size=3).map(tuple)
some_use = st.integers(0, 9)
Step = tuple[Any, ...]
write = st.tuples(st.just("message"), prompts)
answer = st.tuples(st.just("answer the first that waits"), st.booleans())
interrupt: st.SearchStrategy[Step] = st.tuples(st.just("interrupt"))
anything: st.SearchStrategy[Step] = st.one_of(
    write,
    answer,
    interrupt,
    st.tuples(st.just("confirm"), some_use, st.booleans()),
    st.tuples(st.just("result"), some_use),
)
WEIGHTS: list[tuple[int, st.SearchStrategy[Step]]] = [
    (6, st.tuples(st.just("send"), write)),
    (8, st.tuples(st.just("send"), answer)),
    (2, st.tuples(st.just("send"), interrupt)),
    (1, st.tuples(st.just("send"), interrupt, write)),
    (2, st.tuples(st.just("send"), anything)),
    (2, st.tuples(st.just("send"), anything, anything)),
    (1, st.tuples(st.just("send"), anything, anything, anything)),
    (4, st.tuples(st.just("release"))),
    (1, st.tuples(st.just("reconnect"))),
]
steps = st.sampled_from([step for weight, step in WEIGHTS for _ in range(weight)]).flatmap(lambda step: step)
archived = st.tuples(st.just("archive"))
scripts = st.tuples(
    st.lists(steps, min_size=8, max_size=24),
    st.lists(archived, max_size=2),
    st.lists(steps, max_size=4),
).map(lambda parts: [*parts[0], *parts[1], *parts[2]])

CI = bool(os.environ.get("CI"))
PROFILE = settings(
    max_examples=40,
    deadline=None,
    derandomize=CI,
    database=None,
    phases=[Phase.explicit, Phase.generate] if CI else [Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def quick(stage: Stage) -> Generator[Server]:
    with data_directory() as data, serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=CONFIG) as server:
        yield server


@pytest.fixture(scope="module")
def quick_client(quick: Server) -> Generator[Anthropic]:
    with quick.client() as client:
        yield client


@pytest.mark.timeout(300)
@PROFILE
@given(script=scripts)
def test_a_session_does_what_the_reference_model_does(
    quick_client: Anthropic, stage: Stage, script: list[Step]
) -> None:
    with ExitStack() as opened:
        client = Client(quick_client, stage, opened)
        for step in script:
            client.do(step)
            client.compare()
        client.finish()


class Client:
    """One session on the server and one in the reference model, driven alike."""

    def __init__(self, client: Anthropic, stage: Stage, opened: ExitStack) -> None:
        self._stage = stage
        self._opened = opened
        self._model = stage.put(f"random-{next(_models)}", decide=self._decide)
        agent = client.beta.agents.create(name="random", model=self._model, tools=TOOLS)
        environment = client.beta.environments.create(name="random")
        self._talk = Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id)
        self._expected = reference.Session()
        self._prompts: list[Prompt] = []
        self._uses: list[str] = []
        self._followed: dict[str, None] = {}
        self._stream = opened.enter_context(ExitStack())
        self._reader: Reader = self._stream.enter_context(self._talk.stream())

    # -- the scripted model

    def _decide(self, request: Request) -> Answer:
        """The last message names its prompt; answers since then tell the stage."""
        replies = 0
        for turn in reversed(request.messages):
            if turn["role"] == "assistant":
                replies += 1
                continue
            texts = [block["text"] for block in blocks(turn) if block["type"] == "text"]
            numbers = [int(text.removeprefix("prompt ")) for text in texts if text.startswith("prompt ")]
            if numbers:
                return self._answer(self._prompts[numbers[-1]], replies)
        raise AssertionError("a request without a prompt")

    def _answer(self, prompt: Prompt, number: int) -> Answer:
        if number >= len(prompt.stages):
            return Turn("Done.")
        stage = prompt.stages[number]
        hold = Barrier(self._barrier(prompt, number)) if stage.hold else None
        content = [CALLS[letter] for letter in reference.kinds(stage.uses)]
        return Turn(*(content or ["Well."]), first_byte=hold)

    def _barrier(self, prompt: Prompt, number: int) -> str:
        return f"{self._model}-{prompt.number}-{number}"

    # -- steps

    def do(self, step: Step) -> None:
        match step:
            case ("send", *events):
                made = [self._event(event) for event in events]
                send = [self._wire(event) for event in made]
                self._try(lambda: self._expected.send(*made), lambda: self._talk.send(*send))
            case ("archive",):
                archive = self._talk.client.beta.sessions.archive
                self._try(self._expected.archive, lambda: archive(self._talk.id))
            case ("release",):
                self._release()
            case _:
                self._reconnect()

    def _try(self, expected: Callable[[], reference.Session], act: Callable[[], object]) -> None:
        """Both accept or both refuse."""
        try:
            after = expected()
        except Refused:
            with pytest.raises(anthropic.BadRequestError):
                act()
            return
        act()
        self._expected = after

    def _release(self) -> None:
        if self._expected.held:
            assert self._expected.at is not None
            self._stage.release(self._barrier(*self._expected.at))
            self._expected = self._expected.release()

    def _reconnect(self) -> None:
        """Another stream, opened before the list is read; what it repeats is dropped by id."""
        self._catch_up()
        self._stream.close()
        self._reader = self._stream.enter_context(self._talk.stream())
        self._follow(self._talk.history())

    def _event(self, event: Step) -> Event:
        match event:
            case ("message", stages):
                self._prompts.append(Prompt(len(self._prompts), stages))
                return Message(self._prompts[-1])
            case ("interrupt",):
                return Interrupt()
            case ("confirm", use, allow):
                return Confirm(self._use(use), allow)
            case ("result", use):
                return Result(self._use(use))
            case (_, allow):
                return self._first_answer(allow)
            case _:
                raise AssertionError(event)

    def _use(self, number: int) -> int | None:
        return number if number < len(self._uses) else None

    def _first_answer(self, allow: bool) -> Event:
        first = next(iter(self._expected.pending), None)
        if first is not None and self._expected.uses[first].kind == reference.ASKED:
            return Confirm(first, allow)
        return Result(first)

    def _wire(self, event: Event) -> dict[str, Any]:
        match event:
            case Message(prompt):
                return message(f"prompt {prompt.number}")
            case Interrupt():
                return {"type": "user.interrupt"}
            case Confirm(use, allow):
                return confirm(self._id(use), "allow" if allow else "deny")
            case Result(use):
                return result(self._id(use), "value")

    def _id(self, use: int | None) -> str:
        return UNKNOWN if use is None else self._uses[use]

    # -- what must be so at every rest

    def compare(self) -> None:
        expected = self._expected
        if expected.held:
            assert expected.at is not None
            self._stage.arrived(self._barrier(*expected.at))
        self._talk.wait(expected.status)
        history = self._settled()
        self._uses = [event.id for event in history if event.type in USE_TYPES]
        self._compare_messages(history)
        self._compare_uses(history)
        self._compare_rest(history)
        assert len({event.id for event in history}) == len(history)

    def _settled(self) -> list[Any]:
        """The history at rest. A turn's end shows for a moment before the next turn begins, if messages wait."""
        while True:
            history = self._talk.history()
            waiting = sum(event.processed_at is None for event in history)
            if waiting == len(self._expected.queue) and last_status(history) in (None, self._expected.status):
                return history
            self._follow([self._reader.until(lambda event: event.processed_at is not None)])
            self._talk.wait(self._expected.status)

    def _compare_messages(self, history: list[Any]) -> None:
        order = [event.content[0].text for event in history if event.type == "user.message"]
        waiting = [prompt.number for prompt in self._expected.queue]
        assert order == [f"prompt {number}" for number in [*self._expected.taken, *waiting]]

    def _compare_uses(self, history: list[Any]) -> None:
        """Each call has one result, or none while it waits; an error if it was denied or interrupted."""
        results: Counter[str] = Counter()
        errors: dict[str, bool] = {}
        for event in history:
            if event.type in ("agent.tool_result", "user.custom_tool_result"):
                use = event.tool_use_id if event.type == "agent.tool_result" else event.custom_tool_use_id
                results[use] += 1
                errors[use] = bool(event.is_error)
        uses = self._expected.uses
        assert len(self._uses) == len(uses)
        assert [results[id] for id in self._uses] == [int(not use.open) for use in uses]
        assert [errors.get(id) for id in self._uses] == [None if use.open else use.fate == "refused" for use in uses]

    def _compare_rest(self, history: list[Any]) -> None:
        """The last end gives the reason and what is waited for."""
        ends = [event for event in history if event.type == "session.status_idle"]
        if self._expected.status == "idle" and ends:
            assert ends[-1].stop_reason.type == self._expected.stop_reason
        if self._expected.status == "idle" and self._expected.pending:
            assert ends[-1].stop_reason.event_ids == [self._uses[number] for number in self._expected.pending]

    # -- the stream

    def _follow(self, events: list[Any]) -> None:
        for event in events:
            if event.processed_at is not None:
                self._followed[event.id] = None

    def _catch_up(self) -> None:
        """Read the stream to where the list ends."""
        history = [event.id for event in self._talk.history() if event.processed_at is not None]
        self._follow(self._reader.events)
        while history and history[-1] not in self._followed:
            self._follow([self._reader.until(lambda event: event.processed_at is not None)])

    def finish(self) -> None:
        """Let the model go on until the session rests for good; then stream and list say the same in one order."""
        while self._expected.held:
            self._release()
            self.compare()
        self._catch_up()
        history = [event.id for event in self._talk.history() if event.processed_at is not None]
        assert list(self._followed) == history
        self._talk.client.beta.sessions.delete(self._talk.id)
        assert self._reader.ended.wait(20)


def last_status(history: list[Any]) -> str | None:
    """What the session's last status event says, if there was one."""
    said = [event.type for event in history if event.type.startswith("session.status_")]
    return said[-1].removeprefix("session.status_") if said else None
