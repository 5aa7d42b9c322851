"""Budgets: what they may be, what counts, when a session pauses and how it goes on."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from conftest_types import CUSTOM, Play
from live_server import Stage
from session_talk import Talk, confirm, message, result
from turns import kinds, refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Answer, Barrier, HttpError, Request, Text, ToolUse, Turn, Usage

ALWAYS_ASK: Any = {
    "type": "agent_toolset_20260401",
    "default_config": {"enabled": True, "permission_policy": {"type": "always_ask"}},
}
DEAR = Usage(input_tokens=1_000, output_tokens=500)  # 1 + 5 cents
CHEAP = Usage(input_tokens=1, output_tokens=1)


def cents(amount: int | str, currency: str = "USD") -> Any:
    return {"type": "limit", "max_list_cost": {"amount": str(amount), "currency": currency}}


@pytest.fixture
def model_name(request: pytest.FixtureRequest) -> str:
    """Of the endpoint that has prices."""
    return f"priced-{request.node.name}"


def cost(talk: Talk) -> int:
    found = talk.client.beta.sessions.retrieve(talk.id).usage.list_cost
    assert found is not None
    assert found.currency == "USD"
    return int(found.amount)


def reason(event: Any) -> str:
    return event.stop_reason.type


def turn(talk: Talk, *sent: Any) -> list[Any]:
    """Send, and what that added until the session rested."""
    before = {event.id for event in talk.history()}
    talk.send(*sent)
    return after(talk, before)


def after(talk: Talk, before: set[str]) -> list[Any]:
    talk.wait()
    return [event for event in talk.history() if event.id not in before]


@requirement("budgets:form", "sessions:create:budget")
@pytest.mark.parametrize(
    "budget",
    [
        cents("0"),
        cents("05"),
        cents("-1"),
        cents("1.5"),
        cents(""),
        cents(" 1"),
        cents("1" * 13),
        cents("100", "EUR"),
        {"type": "limit", "max_list_cost": {"amount": 100, "currency": "USD"}},
        {"type": "limit"},
        {"type": "most", "max_list_cost": {"amount": "100", "currency": "USD"}},
    ],
)
def test_a_budget_is_whole_cents_above_zero_in_dollars(play: Play, raw: httpx2.Client, budget: Any) -> None:
    session = (talk := play(Turn("Hi."), budget=cents(100))).client.beta.sessions.retrieve(talk.id)
    body = {"agent": session.agent.id, "environment_id": session.environment_id}
    assert raw.post("/v1/sessions", json=body | {"budget": budget}).status_code == 400
    assert raw.post(f"/v1/sessions/{talk.id}", json={"budget": budget}).status_code == 400
    assert session.budget is not None
    assert session.budget.to_dict() == cents(100)
    assert cost(talk) == 0


@requirement("budgets:counted", "sessions:usage:list-cost")
def test_tokens_and_time_are_counted_at_list_prices(play: Play) -> None:
    usage = Usage(
        input_tokens=1_000, output_tokens=200, cache_read_input_tokens=10_000, cache_creation_input_tokens=2_000
    )
    talk = play(Turn("Hi.", usage=usage), Turn("Ho.", usage=DEAR), budget=cents(1000))
    told = [event for event in turn(talk, message("go")) if event.type == "session.usage"]
    assert [(event.usage.list_cost.amount, event.budget.to_dict()) for event in told] == [("8", cents(1000))]
    turn(talk, message("once more"))
    assert cost(talk) == 14
    thread = next(iter(talk.client.beta.sessions.threads.list(talk.id)))
    assert thread.usage is not None
    assert thread.usage.list_cost is not None
    assert thread.usage.list_cost.amount == "14"
    assert [one.id for one in talk.client.beta.sessions.list(limit=1)][:1] == [talk.id]
    listed = talk.client.beta.sessions.list(limit=1).data[0].usage.list_cost
    assert listed is not None
    assert listed.amount == "14"


@requirement("sessions:usage:list-cost")
def test_what_has_a_price_needs_no_budget_to_be_counted(play: Play) -> None:
    talk = play(Turn("Hi.", usage=DEAR))
    assert talk.client.beta.sessions.retrieve(talk.id).usage.list_cost is None
    told = turn(talk, message("go"))
    assert cost(talk) == 6
    assert [event.budget for event in told if event.type == "session.usage"] == [None]


@requirement("budgets:priced-models")
def test_a_model_without_a_price_takes_no_budget(play: Play, raw: httpx2.Client) -> None:
    talk = play(Turn("Hi."))
    environment = talk.client.beta.sessions.retrieve(talk.id).environment_id
    agent = talk.client.beta.agents.create(name="free", model="model-without-a-price")
    with refused(400, "model_not_budgetable", error_code="model_not_budgetable"):
        talk.client.beta.sessions.create(agent=agent.id, environment_id=environment, budget=cents(100))
    dear: Any = {"type": "agent_with_overrides", "id": agent.id, "model": {"id": "priced-other"}}
    assert talk.client.beta.sessions.create(agent=dear, environment_id=environment, budget=cents(100)).budget
    free = talk.client.beta.sessions.create(agent=agent.id, environment_id=environment)
    assert free.usage.list_cost is None


@requirement("budgets:checked-before-request", "budgets:pause-order", "budgets:resume", "sessions:update:budget")
@requirement("status:budget:raised", "emitted:stop:budget_reached", "status:stop-reason:priority", "check:15")
def test_a_turn_pauses_at_the_cap_before_its_next_request_and_goes_on_when_it_is_raised(
    play: Play, stage: Stage, model_name: str
) -> None:
    use = Turn(ToolUse("lookup", {"key": "k"}), usage=DEAR)
    talk = play(use, Turn("Done.", usage=CHEAP), tools=[CUSTOM], budget=cents(5))
    waits = turn(talk, message("go"))
    assert reason(waits[-1]) == "requires_action"
    (wanted,) = waits[-1].stop_reason.event_ids
    paused = turn(talk, result(wanted, "v"))
    assert kinds(paused[-3:]) == ["session.thread_status_idle", "session.usage", "session.status_idle"]
    assert (reason(paused[-3]), reason(paused[-1])) == ("budget_reached", "budget_reached")
    assert talk.status() == "idle"
    assert len(stage.requests(model_name)) == 1
    before = {event.id for event in talk.history()}
    raised = talk.client.beta.sessions.update(talk.id, budget=cents(50))
    assert (raised.status, raised.budget and raised.budget.to_dict()) == ("running", cents(50))
    resumed = after(talk, before)
    assert kinds(resumed)[:2] == ["session.updated", "session.status_running"]
    assert resumed[0].budget.to_dict() == cents(50)
    assert reason(resumed[-1]) == "end_turn"
    assert len(stage.requests(model_name)) == 2
    assert stage.requests(model_name)[-1]["messages"][-1]["content"][0]["type"] == "tool_result"


@requirement(
    "budgets:pause-order", "budgets:at-cap:accepted", "budgets:resume", "status:stop-reason:priority", "check:15"
)
def test_a_turn_that_ends_over_the_cap_says_so_for_the_session_alone(play: Play, stage: Stage, model_name: str) -> None:
    talk = play(Turn("Done.", usage=DEAR), Turn("More.", usage=CHEAP), budget=cents(5))
    ended = turn(talk, message("go"))
    assert (reason(ended[-3]), reason(ended[-1])) == ("end_turn", "budget_reached")
    with refused(400, "user.tool_confirmation, user.tool_result, user.custom_tool_result, user.interrupt"):
        talk.say("more")
    talk.client.beta.sessions.update(talk.id, budget=cents(7))
    assert talk.status() == "idle"
    assert reason(turn(talk, message("more"))[-1]) == "end_turn"
    assert len(stage.requests(model_name)) == 2


@requirement(
    "budgets:at-cap:interrupt", "budgets:at-cap:accepted", "budgets:remove", "status:budget:raised", "check:15"
)
def test_at_the_cap_an_interrupt_is_taken_and_not_kept_and_removing_the_cap_goes_on(play: Play) -> None:
    use = Turn(ToolUse("bash", {"command": "true"}), usage=DEAR)
    talk = play(use, Turn("Done.", usage=CHEAP), tools=[ALWAYS_ASK], budget=cents(5))
    (wanted,) = turn(talk, message("go"))[-1].stop_reason.event_ids
    assert reason(turn(talk, confirm(wanted, "deny"))[-1]) == "budget_reached"
    before = {event.id for event in talk.history()}
    (echo,) = talk.send({"type": "user.interrupt"})
    assert echo.type == "user.interrupt"
    with refused(400, "budget_reached", error_code="budget_reached"):
        talk.say("more")
    assert {event.id for event in talk.history()} == before
    assert talk.client.beta.sessions.update(talk.id, budget=None).budget is None
    resumed = after(talk, before)
    assert (resumed[0].type, resumed[0].budget) == ("session.updated", None)
    assert reason(resumed[-1]) == "end_turn"
    with refused(400, "budget_create_only", error_code="budget_create_only"):
        talk.client.beta.sessions.update(talk.id, budget=cents(100))


@requirement("budgets:raise")
def test_a_cap_is_replaced_only_by_one_above_what_is_spent(play: Play) -> None:
    talk = play(Turn("Hi.", usage=DEAR), budget=cents(1000))
    turn(talk, message("go"))
    for amount in (1, 6):
        with refused(400, "budget_not_raised", error_code="budget_not_raised"):
            talk.client.beta.sessions.update(talk.id, budget=cents(amount))
    lower = talk.client.beta.sessions.update(talk.id, budget=cents(7), title="lower")
    assert (lower.budget and lower.budget.to_dict(), lower.title) == (cents(7), "lower")
    same = talk.client.beta.sessions.update(talk.id, budget=cents(7))
    assert same.updated_at == lower.updated_at


@requirement("budgets:checked-before-request")
def test_a_request_in_flight_finishes_though_the_cap_is_passed(play: Play, stage: Stage, model_name: str) -> None:
    parts = Turn(Text("One ", Barrier(model_name), "two."), usage=Usage(input_tokens=1, output_tokens=5_000))
    talk = play(parts, budget=cents(5))
    with talk.stream() as reader:
        talk.say("go")
        stage.arrived(model_name)
        stage.release(model_name)
        reader.idle("budget_reached")
    assert [event.content[0].text for event in talk.history() if event.type == "agent.message"] == ["One two."]
    assert cost(talk) == 50


def test_an_interrupted_request_counts_its_prompt_and_what_had_come(play: Play, stage: Stage, model_name: str) -> None:
    parts = Turn(Text("x" * 4_000, Barrier(model_name), "never"))
    talk = play(parts, budget=cents(1000))
    with talk.stream("agent.message") as reader:
        talk.say("y" * 40_000)
        stage.arrived(model_name)
        reader.until("event_delta")
        talk.send({"type": "user.interrupt"})
        reader.idle("end_turn")
    assert 30 <= cost(talk) <= 35  # 10,000 tokens at the price of writing the cache, 1,000 of the answer


def test_a_request_that_is_refused_costs_nothing(play: Play) -> None:
    answers: list[Answer] = [HttpError(529, "overloaded_error"), Turn("Hi.", usage=DEAR)]

    def in_turn(_request: Request) -> Answer:
        return answers.pop(0)

    talk = play(decide=in_turn, budget=cents(1000))
    turn(talk, message("go"))
    assert cost(talk) == 6
