"""A harness that dies around a model request: what it may have spent stays counted, so that dying never beats a cap."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from live_server import Server, Stage, data_directory, serving
from session_talk import Talk

from conformance.requirements import requirement
from outrider.models.scripted.script import Barrier, Text, Turn, Usage

CONFIG = """
[limits]
backoff_first = 0.1
backoff_most = 0.5
model_attempts = 50

[prices]
running_hour = 0

[endpoints.priced]
base_url = "{url}"
auth = "none"
models = ["priced-*"]
price = {{ input = 0, output = 100, cache_read = 0, cache_write = 0 }}
max_tokens = 1_000
"""
RESERVED = 10  # cents: 1,000 tokens of an answer


def open_talk(server: Server, model: str, cents: int) -> Talk:
    client = server.client(max_retries=8)
    agent = client.beta.agents.create(name="crash", model=model)
    environment = client.beta.environments.create(name="crash")
    budget: Any = {"type": "limit", "max_list_cost": {"amount": str(cents), "currency": "USD"}}
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, budget=budget)
    return Talk(client, session.id)


def cost(talk: Talk) -> int:
    found = talk.client.beta.sessions.retrieve(talk.id).usage.list_cost
    assert found is not None
    return int(found.amount)


@requirement("budgets:counted", "budgets:checked-before-request")
@pytest.mark.parametrize(("deaths", "cap", "ended"), [(1, 11, "end_turn"), (2, 15, "budget_reached")])
def test_each_death_in_a_request_is_paid_for_and_enough_of_them_reach_the_cap(
    deaths: int, cap: int, ended: str
) -> None:
    with Stage().open() as stage, data_directory() as data:
        model = stage.put("priced-dying", Turn(Text("Half ", Barrier("half"), "way."), usage=Usage(1, 10)))
        with serving(data, {}, config=CONFIG.format(url=stage.url)) as server:
            talk = open_talk(server, model, cents=cap)
            talk.say("go")
            for death in range(1, deaths + 1):
                stage.arrived("half", death)
                os.kill(server.pids()["server"], signal.SIGKILL)
            if ended == "end_turn":
                stage.arrived("half", deaths + 1)
                stage.release("half")
            talk.wait(seconds=40)
            assert talk.history()[-1].stop_reason.type == ended
            assert len(stage.requests(model)) == deaths + (ended == "end_turn")
            assert cost(talk) == deaths * RESERVED
