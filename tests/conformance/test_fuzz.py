"""Bad input of every kind, made up by machine from the API's own description: no answer is a server's fault."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast
from urllib.parse import quote, unquote

import httpx2
import jsonschema_rs
import pytest
import schemathesis
from everything import things
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import Server, Stage, data_directory, serving
from people import headers
from spoiled_forms import form
from workers import key_of

from conformance.requirements import requirement
from outrider.api.app import ROUTES
from outrider.api.openapi import BINARY, PARAMETER, STREAMS, describe, handler_of, request_of
from outrider.wire.answers import answers
from outrider.wire.requests import REQUESTS

CONFIG = "[limits]\nbackoff_first = 0.01\nbackoff_most = 0.02\nmodel_attempts = 1\n"
SLOW = frozenset({"repair.get_repair", "repair.repair"})  # they watch a session for seconds
OF_WORKERS = frozenset({"work_poll", "work_ack", "work_heartbeat"})
"""Operations that an environment's key alone may ask."""
NEVER_DONE = {
    "places_move": "the session has no place on a lost host",
    "files_content": "what was uploaded can't be downloaded",
    "credentials_validate": "the credential is a bearer's",
    "threads_archive": "the thread is its session's first",
    "resources_delete": "the resource is a repository, which can be changed and not removed",
    "workspaces_delete": "the key is of that workspace",
    "dreams_cancel": "the dream may have ended",
    "environments_delete": "sessions use it",
}
"""Operations that need not be carried out, because what is there does not let them; they are refused for that."""
REFUSED = frozenset({401, 403, 404, 405})  # before anything was looked at
ENDS = ("/archive", "/revoke", "/redact", "/cancel", "/stop")
SAY = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
GOOD: dict[str, list[Any]] = {
    "events_send_events": [{"events": [SAY]}, {"events": [SAY, {"type": "user.interrupt"}]}],
    "keys_create": [{"name": "one more", "scope": "developer"}],
    "webhooks_create": [{"url": "https://hooks.invalid/", "enabled_events": ["vault.created"]}],
    "webhooks_update": [{"enabled_events": ["vault.deleted"]}],
    "folders_create_session": [{"agent": "", "environment_id": "", "folders": []}],
    "deployments_create": [{"name": "d", "agent": "", "environment_id": "", "initial_events": [SAY]}],
    "credentials_create": [
        {"auth": {"type": "static_bearer", "mcp_server_url": "https://mcp.example/other", "token": "t"}}
    ],
    "memories_create": [{"path": "/made-up", "content": "x"}],
    "memories_update": [{"content": "y"}],
}
"""By operation, requests that are carried out: machines hardly ever make up one."""
JSON = "application/json"
FILE = [("file", "a.txt", b"a")]
SKILL = b"---\nname: %s\ndescription: Made up.\n---\n"
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
    """A server, one of everything on it by the name of its path parameter, the answers that were its own fault, and all
    answers about what is there, by operation; `breaches` are answers that the description did not foresee."""

    server: Server
    client: httpx2.Client
    things: dict[str, str]
    worker: str
    faults: list[str] = field(default_factory=list[str])
    breaches: list[str] = field(default_factory=list[str])
    held: int = 0
    reached: dict[str, set[int]] = field(default_factory=dict[str, set[int]])

    def send(self, method: str, path: str, content: bytes, **more: Any) -> httpx2.Response:
        answer = self.client.request(method, path, content=content, **more)
        if answer.status_code >= 500:
            self.faults.append(f"{method} {path} {content[:500]!r} {more}: {answer.status_code} {answer.text[:300]}")
        return answer


@pytest.fixture(scope="module")
def target() -> Generator[Target]:
    with Stage().open() as stage, data_directory() as data:
        config = f'{CONFIG}[endpoints.listed]\nbase_url = "{stage.url}"\nauth = "none"\nmodels = ["m"]\n'
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=config) as server:
            with (
                server.client() as sdk,
                httpx2.Client(base_url=server.url, headers=headers(server.key), timeout=30) as client,
            ):
                spare = client.post("/outrider/v1/keys", json={"name": "spare", "scope": "user"}).json()["id"]
                there = things(server, stage) | {
                    "model_id": "m",
                    "key_id": spare,
                }  # the other is the one that is used here
                yield Target(server, client, there, key_of(sdk, there["hosted_id"]))


def filled(value: Any, things: dict[str, str]) -> Any:
    """A made-up body with the names of things that are there."""
    if isinstance(value, list):
        return [filled(item, things) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    body = cast("dict[str, Any]", value)
    return {key: _known(key, inner, things) for key, inner in body.items()}


def _known(key: str, value: Any, things: dict[str, str]) -> Any:
    known = things | {"agent": things["agent_id"], "skill": things["skill_id"]}
    if key in known and isinstance(value, str):
        return known[key]
    return [known[key[:-1]]] if key[:-1] in known and isinstance(value, list) else filled(value, things)


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
    """What ends a thing comes after all that needs it, and after what ends the things within it."""
    ends = operation.method == "delete" or operation.path.endswith(ENDS)
    return 100 * ends - operation.path.count("/") * ends, operation.path


def operations() -> list[Any]:
    skipped = {name.replace(".", "_") for name in STREAMS | SLOW}
    schema: Any = schemathesis.openapi.from_dict(description())
    found: list[Any] = [result.ok() for result in schema.get_all_operations()]
    return sorted((one for one in found if one.definition.raw["operationId"] not in skipped), key=late)


def path_of(operation: Any, things: dict[str, str], drawn: dict[str, Any]) -> str:
    """Its path, with names of `things`, and with made-up ones where there is none."""
    path = operation.path
    there = things | {"environment_id": things["hosted_id"]} if things and "/work" in path else things
    for name, value in drawn.items():
        path = path.replace("{" + name + "}", there.get(name) or quote(unquote(str(value)), safe=""))
    return path


def ask_all(operation: Any, target: Target) -> None:
    name = operation.definition.raw["operationId"]
    for body in GOOD.get(name, ()):
        for one in [filled(body, target.things), spoiled(filled(body, target.things), random.Random(name))]:
            ask_about(operation, target, target.things, {}, json.dumps(one).encode(), JSON)

    @BOUNDS
    @given(operation.as_strategy(), st.integers(0, 2**32))
    def ask(case: Any, seed: int) -> None:
        ask_one(operation, case, random.Random(seed), target)

    ask()


def ask_one(operation: Any, case: Any, rng: random.Random, target: Target) -> None:
    made: dict[str, Any] = case.query or {}
    query = {key: made[key] for key in made if rng.random() < 0.7}
    for content, kind in bodies(operation, case, rng, target.things):
        for names in (target.things, {}):
            ask_about(operation, target, names, case.path_parameters or {}, content, kind, query)


def ask_about(
    operation: Any,
    target: Target,
    names: dict[str, str],
    drawn: dict[str, Any],
    content: bytes,
    kind: str,
    query: Mapping[str, Any] | None = None,
) -> None:
    name = operation.definition.raw["operationId"]
    said = {"content-type": kind} | ({"authorization": f"Bearer {target.worker}"} if name in OF_WORKERS else {})
    drawn = drawn or {found[1]: "none" for found in PARAMETER.finditer(operation.path)}
    path = path_of(operation, names, drawn)
    answer = target.send(operation.method.upper(), path, content, headers=said, params=query or {})
    if names:
        target.reached.setdefault(name, set()).add(answer.status_code)
    if answer.headers.get("content-type") == JSON:
        schema = described(name, "200" if answer.is_success else "default")
        target.held += 1
        found = [f"{error.instance_path}: {error.message}" for error in schema.iter_errors(answer.json())]
        target.breaches += [f"{name} {answer.status_code}: {error[:300]}" for error in found]


@cache
def description() -> dict[str, Any]:
    return json.loads(json.dumps(describe(ROUTES)))


@cache
def described(name: str, status: str) -> Any:
    """What the description says of an operation's answers."""
    document = description()
    (one,) = [one for path in document["paths"].values() for one in path.values() if one["operationId"] == name]
    schema = one["responses"][status]["content"][JSON]["schema"]
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def bodies(operation: Any, case: Any, rng: random.Random, things: dict[str, str]) -> Iterator[tuple[bytes, str]]:
    """A body and its content type: as it should be, and spoiled."""
    if case.media_type == "multipart/form-data":
        skill = b"first" if operation.path.endswith("/versions") else b"made-up"  # a version has its skill's name
        parts = FILE if operation.path == "/v1/files" else [("files[]", "a/SKILL.md", SKILL % skill)]
        yield from (form(parts, None), form(parts, rng), form(parts, rng))
        return
    sent: Any = case.body
    body: Any = filled(sent, things) if type(sent) is dict else {}
    yield json.dumps(body).encode(), JSON
    if case.media_type == JSON:
        yield json.dumps(spoiled(body, rng)).encode(), JSON


def test_the_description_is_valid_and_served(target: Target) -> None:
    served = target.client.get("/outrider/v1/openapi.json")
    assert served.status_code == 200
    assert served.json() == description()
    schemathesis.openapi.from_dict(served.json()).validate()


def test_the_description_has_every_route_and_every_request_once() -> None:
    document = describe(ROUTES)
    described = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert sorted(described) == sorted({handler_of(route).replace(".", "_") for route in ROUTES})
    assert {request_of(route) for route in ROUTES} - {None} <= set(REQUESTS)
    described = {handler for handler in answers()[0] if handler in map(handler_of, ROUTES)}
    of_the_api = {handler_of(route) for route in ROUTES if route.path.startswith("/v1/")}
    assert described == answers()[0].keys() == of_the_api - STREAMS - BINARY
    bodies = [request_of(route) for route in ROUTES if request_of(route)]
    assert len(bodies) == len(set(bodies)) >= 17


@pytest.mark.timeout(0 if LONG else 240)
def test_no_body_at_all_is_too_strange_to_be_refused(target: Target) -> None:
    """Any JSON, any bytes, any header: on every route that takes a body. The things are still needed after it."""
    routes = [one for one in ROUTES if one.method == "POST" and handler_of(one) not in SLOW]
    routes = [one for one in routes if not one.path.endswith(ENDS)]

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


@requirement("transport:retry:no-5xx-after-commit")
@pytest.mark.timeout(0 if LONG else 240)
def test_no_made_up_request_is_answered_by_a_fault_of_the_server(target: Target) -> None:
    """Requests that fit the description, and the same with one part spoiled; of each operation some are carried out."""
    for operation in operations():
        ask_all(operation, target)
    assert not target.faults, "\n".join(target.faults[:20])
    assert target.held > 1000  # answers to the description
    assert not target.breaches, "\n".join(target.breaches[:20])
    assert target.reached.keys() == {one.definition.raw["operationId"] for one in operations()}
    assert not [name for name, found in target.reached.items() if found <= REFUSED]
    assert all(
        {200, 400} <= target.reached[name] for name in ("files_upload", "skills_create", "skills_create_version")
    )
    assert {name for name, found in target.reached.items() if 200 not in found} <= NEVER_DONE.keys()
