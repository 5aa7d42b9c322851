"""The manifest of the SDK's surface: whole, and in step with routes, tests and exceptions in both directions."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import httpx2
import pytest
from surface import HELPERS, Touched, called

from conformance.manifest import SNAPSHOT, UNSAID, faults, items, named, snapshot, standing
from conformance.sdk_walk import calls, events
from conformance.witnessed import Traffic, chosen, witnesses
from outrider.api.app import ROUTES
from outrider.api.openapi import handler_of
from outrider.wire.queries import parameters

HERE = "tests/conformance/test_manifest.py"


def test_the_committed_snapshot_is_what_the_sdk_has() -> None:
    assert snapshot() == SNAPSHOT.read_text(), "read the difference; if it is wanted: scripts/compatibility --sdk"


def test_every_name_has_a_witness_that_is_there_or_a_reason_and_nothing_else_does() -> None:
    assert faults() == []


def test_a_name_without_witness_or_reason_a_stale_reason_and_a_lost_witness_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, there = "tests/conformance/test_gone.py::test_x", f"{HERE}::test_the_walk_is_whole"
    names = {kind: dict(found) for kind, found in witnesses().items()}
    del names["sent"]["files.upload:file"]
    names["sent"] |= {"files.list:ids": gone, "RedactedBlockParam:type": there, "files.list:colour": there}
    with monkeypatch.context() as patch:
        patch.setattr("conformance.manifest.witnesses", lambda: names)
        standing.cache_clear()
        found = " ".join(faults())
    standing.cache_clear()
    for words in (
        f"files.upload:file: {UNSAID}",
        "RedactedBlockParam:type: it has a witness",
        "RedactedBlockParam:*: an exception of nothing",
        "files.list:colour: the SDK has no such thing",
        f"files.list:ids: its witness {gone} is gone",
    ):
        assert words in found


def test_a_call_is_met_only_where_there_is_a_route_and_every_route_is_a_call() -> None:
    ours = {(route.method, plain(route.path)) for route in ROUTES if route.path.startswith("/v1/")}
    asked = {(call.method, plain(call.path)) for call in calls().values()}
    assert not sorted(ours - asked)
    by_status = {item.name: standing(item).status for item in items() if item.kind == "calls"}
    routes = {name: (call.method, plain(call.path)) for name, call in calls().items() if call.path}
    assert not [name for name, route in routes.items() if by_status[name] == "met" and route not in ours]
    assert not [name for name, route in routes.items() if by_status[name] == "differs" and route in ours]


def test_the_description_of_the_api_has_the_queries_that_the_sdk_sends() -> None:
    asked = {
        (call.method, plain(call.path)): {field.wire for field in call.fields if field.place == "query"}
        for call in calls().values()
    }
    for route in ROUTES:
        if route.path.startswith("/v1/"):
            told = {re.sub(r"\[\]$", "", name) for name, _ in parameters(handler_of(route))}
            assert told == asked[route.method, plain(route.path)], route.path


def plain(path: str) -> str:
    return re.sub(r"\{\w+(:path)?\}", "{}", path)


def test_the_walk_is_whole() -> None:
    assert {"agent.message", "event_delta", "workflow_run.error", "vault.created", "session.idled"} <= events().keys()
    assert {"agents.versions.list", "sessions.threads.archive", "webhooks.unwrap", *HELPERS.values()} <= calls().keys()
    count = Counter(item.kind for item in items())
    assert (count["calls"] > 120, count["sent"] > 500, count["told"] > 1000) == (True, True, True)


# -- what is read from traffic


def touched(method: str, url: str, **sent: Any) -> Touched:
    request = httpx2.Request(method, f"http://server{url}", **sent)
    found = Touched()
    found.request(request, request.read())
    return found


def test_fields_are_read_from_bodies_queries_and_headers() -> None:
    model = {"id": "m", "effort": None}  # what says nothing is not sent
    tools = [{"type": "custom", "name": "x", "description": "y", "input_schema": {"type": "object"}}]
    given = {"name": "a", "model": model, "tools": tools, "system": "", "skills": []}
    found = touched("POST", "/v1/agents", json=given)
    assert found.calls == {"agents.create"}
    assert {"agents.create:name", "agents.create:model", "ModelConfigParams:id", "CustomToolParams:name"} <= found.sent
    assert not {"agents.create:system", "ModelConfigParams:effort", "agents.create:skills"} & found.sent
    found = touched("GET", "/v1/files?ids[]=a&beta=true", headers={"anthropic-workspace-id": "w"})
    assert found.sent == {"files.list:ids", "*:workspace_id"}


def test_a_record_is_known_by_its_keys_and_words() -> None:
    event = {"type": "user.message", "content": [{"type": "text", "text": "x"}]}
    found = touched("POST", "/v1/sessions/s/events", json={"events": [event]})
    assert {"UserMessageEventParams:content", "TextBlockParam:text"} <= found.sent
    assert not [name for name in found.sent if name.startswith(("UserInterrupt", "ImageBlock"))]


def test_a_fixed_path_comes_before_an_id() -> None:
    poll = called("GET", "/v1/environments/e/work/poll")
    one = called("GET", "/v1/environments/e/work/w")
    assert poll is not None
    assert one is not None
    assert (poll.name, one.name) == ("environments.work.poll", "environments.work.retrieve")
    assert called("GET", "/outrider/v1/host") is None


def test_the_witness_is_one_that_says_the_name_in_its_code_and_no_test_of_chance() -> None:
    says, other = f"{HERE}::test_fields_are_read_from_bodies_queries_and_headers", f"{HERE}::test_the_walk_is_whole"
    seen: dict[Any, list[str]] = {"calls": [], "sent": ["agents.create:system"], "told": []}
    traffic: Traffic = {other: seen, says: seen, "tests/conformance/test_fuzz.py::test_a": seen}
    assert chosen(traffic)["sent"] == {"agents.create:system": says}


def test_a_witness_that_was_not_run_stays_while_it_exists() -> None:
    there, gone = f"{HERE}::test_the_walk_is_whole", "tests/conformance/test_x.py::test_y"
    before: Any = {"calls": {"agents.list": there, "agents.create": gone}, "sent": {}, "told": {}}
    assert chosen({}, before)["calls"] == {"agents.list": there}


@pytest.mark.parametrize("name", ["agents.nothing", "agents.create:nothing"])
def test_what_nobody_knows_is_no_exception(name: str) -> None:
    assert named("calls", name) is None
