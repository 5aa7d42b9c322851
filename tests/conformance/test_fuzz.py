"""Bad input of every kind, made up by machine from the API's own description: no answer is a server's fault."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from anthropic import Anthropic
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import Server, data_directory, serving

from conformance.requirements import requirement
from outrider.api.app import ROUTES
from outrider.api.openapi import STREAMS, describe, handler_of, request_of
from outrider.wire.requests import REQUESTS

CONFIG = "[limits]\nbackoff_first = 0.01\nbackoff_most = 0.02\nmodel_attempts = 1\n"
NOBODY = "http://127.0.0.1:9"  # no model answers there, so that turns end at once
SLOW = frozenset({"repair.get_repair", "repair.repair"})  # they watch a session for seconds
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "8"))  # of each operation
LONG = "FUZZ_EXAMPLES" in os.environ
BOUNDS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not LONG,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.large_base_example],
)
JUNK: list[Any] = [
    None, True, 0, -1, 2**63, 2**64, 1e308, float("nan"), "", "\x00", "\ud800", "x" * 70_000, "../../etc", [], {},
    [[]], [None], {"": None}, {"type": "x"}, {"type": None}, {"__proto__": {}},
]  # fmt: skip
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@dataclass
class Target:
    """A server, what stands on it by the name of its path parameter, and the answers that were its own fault."""

    server: Server
    client: httpx2.Client
    things: dict[str, str]
    faults: list[str] = field(default_factory=list[str])
    statuses: Counter[int] = field(default_factory=Counter[int])

    def send(self, method: str, path: str, content: bytes, **more: Any) -> None:
        answer = self.client.request(method, path, content=content, **more)
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            self.faults.append(f"{method} {path} {content[:500]!r} {more}: {answer.status_code} {answer.text[:300]}")


@pytest.fixture(scope="module")
def target() -> Generator[Target]:
    with data_directory() as data, serving(data, {"OUTRIDER_MODEL_URL": NOBODY}, config=CONFIG) as server:
        headers = {"authorization": f"Bearer {server.key}", "anthropic-beta": "managed-agents-2026-04-01"}
        with server.client() as sdk, httpx2.Client(base_url=server.url, headers=headers, timeout=30) as client:
            yield Target(server, client, _things(sdk))


def _things(client: Anthropic) -> dict[str, str]:
    beta = client.beta
    agent = beta.agents.create(name="fuzzed", model="m").id
    environment = beta.environments.create(name="fuzzed").id
    vault = beta.vaults.create(display_name="fuzzed").id
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/x", "token": "t"}
    credential = beta.vaults.credentials.create(vault, auth=auth).id
    session = beta.sessions.create(agent=agent, environment_id=environment)
    store = beta.memory_stores.create(name="fuzzed").id
    memory = beta.memory_stores.memories.create(store, path="/a.md", content="a")
    file = beta.files.upload(file=("a.txt", b"a")).id
    say: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
    deployment = beta.deployments.create(
        name="fuzzed", agent=agent, environment_id=environment, initial_events=[say]
    ).id
    return {
        "deployment_id": deployment, "deployment_run_id": beta.deployments.run(deployment).id,
        "agent_id": agent, "environment_id": environment, "vault_id": vault, "credential_id": credential,
        "session_id": session.id, "thread_id": next(iter(beta.sessions.threads.list(session.id))).id,
        "memory_store_id": store, "memory_id": memory.id, "file_id": file, "model_id": "m",
        "memory_version_id": next(iter(beta.memory_stores.memory_versions.list(store))).id,
    }  # fmt: skip


def filled(value: Any, things: dict[str, str]) -> Any:
    """A made-up body with the names of things that are there."""
    if isinstance(value, list):
        return [filled(item, things) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    known = things | {"agent": things["agent_id"]}
    body = cast("dict[str, Any]", value)
    return {k: known[k] if k in known and isinstance(v, str) else filled(v, things) for k, v in body.items()}


def spoiled(value: Any, rng: random.Random) -> Any:
    """The same with one part replaced by junk, or one key too many."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        body = dict(cast("dict[str, Any]", value))
        key = rng.choice(sorted(body))
        return body | {key: spoiled(body[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        items = list(cast("list[Any]", value))
        place = rng.randrange(len(items))
        items[place] = spoiled(items[place], rng)
        return items
    return rng.choice(JUNK)


def late(operation: Any) -> tuple[int, str]:
    """What ends a thing comes after all that needs it."""
    ends = operation.method == "delete" or operation.path.endswith(("/archive", "/revoke", "/redact"))
    return (operation.method == "delete") + ends, operation.path


def operations() -> list[Any]:
    skipped = {name.replace(".", "_") for name in STREAMS | SLOW}
    schema: Any = schemathesis.openapi.from_dict(describe(ROUTES))
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]
    return sorted((one for one in found if one.definition.raw["operationId"] not in skipped), key=late)


def paths(operation: Any, things: dict[str, str], drawn: dict[str, Any]) -> Iterator[str]:
    """With names of things that are there, and with made-up ones."""
    for names in (things, {}):
        path = operation.path
        for name, value in drawn.items():
            path = path.replace("{" + name + "}", names.get(name) or quote(str(value), safe=""))
        yield path


def ask_all(operation: Any, target: Target) -> None:
    @BOUNDS
    @given(operation.as_strategy(), st.integers(0, 2**32))
    def ask(case: Any, seed: int) -> None:
        ask_one(operation, case, random.Random(seed), target)

    ask()


def ask_one(operation: Any, case: Any, rng: random.Random, target: Target) -> None:
    made: dict[str, Any] = case.query or {}
    query = {key: made[key] for key in made if rng.random() < 0.7}
    sent: Any = case.body
    body: Any = filled(sent, target.things) if type(sent) is dict else {}
    bodies: list[Any] = [body, spoiled(body, rng)] if case.media_type == "application/json" else [body]
    for path in paths(operation, target.things, case.path_parameters or {}):
        for one in bodies:
            target.send(operation.method.upper(), path, json.dumps(one).encode(), params=query)


def test_the_description_is_valid_and_served(target: Target) -> None:
    served = target.client.get("/outrider/v1/openapi.json")
    assert served.status_code == 200
    assert served.json() == json.loads(json.dumps(describe(ROUTES)))
    schemathesis.openapi.from_dict(served.json()).validate()


def test_the_description_has_every_route_and_every_request_once() -> None:
    document = describe(ROUTES)
    described = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert sorted(described) == sorted({handler_of(route).replace(".", "_") for route in ROUTES})
    assert {request_of(route) for route in ROUTES} - {None} <= set(REQUESTS)
    bodies = [request_of(route) for route in ROUTES if request_of(route)]
    assert len(bodies) == len(set(bodies)) >= 17


@requirement("transport:retry:no-5xx-after-commit")
@pytest.mark.timeout(0 if LONG else 240)
def test_no_made_up_request_is_answered_by_a_fault_of_the_server(target: Target) -> None:
    """Requests that fit the description, and the same with one part of them spoiled."""
    for operation in operations():
        ask_all(operation, target)
    assert not target.faults, "\n".join(target.faults[:20])
    assert {200, 400, 404} <= set(target.statuses)


@pytest.mark.timeout(0 if LONG else 240)
def test_no_body_at_all_is_too_strange_to_be_refused(target: Target) -> None:
    """Any JSON, any bytes, any header: on every route that takes a body."""
    routes = [route for route in ROUTES if route.method == "POST" and handler_of(route) not in SLOW]

    @BOUNDS
    @given(ANY, st.binary(max_size=200), st.sampled_from(["application/json", "multipart/form-data; boundary=x", "x"]))
    def ask(value: Any, raw: bytes, kind: str) -> None:
        for route in routes:
            path = route.path
            for name, thing in target.things.items():
                path = path.replace("{" + name + "}", thing)
            for content in (json.dumps(value).encode(), raw, b"--x\r\n" + raw):
                target.send("POST", path, content, headers={"content-type": kind})

    ask()
    assert not target.faults, "\n".join(target.faults[:20])
