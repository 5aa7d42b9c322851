"""Every route of the app is asked with keys of two workspaces and of all scopes: a new one can't be forgotten.

A route that isn't in the tables below fails its test, and so does a name in its path that they don't know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, get_args

import httpx2
import pytest
from everything import dream_inputs, things
from live_server import Server, Stage, data_directory, serving
from people import done, headers
from sdk_clients import sdk_client
from session_talk import result
from turns import refused
from workers import environment_of, key_of, token_of

from conformance.requirements import requirement
from outrider.api.app import ROUTES
from outrider.ports.access import Role, Scope

OF_THE_SERVER = {
    "/v1/models",
    "/v1/models/{model_id:path}",
    "/outrider/v1/host",
    "/outrider/v1/folders",
    "/outrider/v1/openapi.json",
}
"""What belongs to no workspace."""

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/sessions/{session_id}/events"): {"events": [{"type": "user.interrupt"}]},
    ("POST", "/v1/sessions/{session_id}/resources"): {"type": "file", "file_id": "file_unknown"},
    ("POST", "/v1/sessions/{session_id}/resources/{resource_id}"): {"authorization_token": "a token"},
    ("POST", "/v1/vaults/{vault_id}/credentials"): {
        "auth": {"type": "static_bearer", "mcp_server_url": "https://a.example", "token": "a token"}
    },
    ("POST", "/v1/memory_stores/{memory_store_id}/memories"): {"path": "/b", "content": ""},
    ("POST", "/v1/environments/{environment_id}/work/{work_id}"): {"metadata": {}},
}
"""Of requests that are refused for an empty body before what they name is looked up."""

ADMIN: set[Role] = {"admin"}
DEFINING: set[Role] = {"admin", "developer"}
USING: set[Role] = {"admin", "developer", "user"}
WORKING: set[Role] = {"admin", "developer", "user", "environment", "session"}
LOOKING: set[Role] = {"admin", "developer", "user", "environment"}
REMEMBERING: set[Role] = {"admin", "developer", "user", "session"}
Q = r"/v1/environments/{environment_id}/work"
MAY: list[tuple[str, str, set[Role]]] = [
    ("GET", r"/v1/(agents|vaults)(/.*)?|/v1/environments(/{environment_id})?", USING),
    ("POST|DELETE", r"/v1/(agents|vaults)(/.*)?|/v1/environments(/{environment_id}(/archive)?)?", DEFINING),
    ("GET", Q + r"/poll", {"environment"}),
    ("POST", Q + r"/{work_id}/ack", {"environment"}),
    ("POST", Q + r"/{work_id}/heartbeat", {"environment", "session"}),
    ("POST", Q + r"/{work_id}/stop", WORKING),
    ("GET", Q + r"(/stats|/{work_id})?", LOOKING),
    ("POST", Q + r"/{work_id}", USING),
    ("GET", r"/v1/sessions", USING),
    ("POST", r"/v1/sessions", USING),
    (
        "GET",
        r"/v1/sessions/{session_id}(/(events|events/stream|threads|threads/{thread_id}(/events|/stream)?))?",
        WORKING,
    ),
    ("GET", r"/v1/sessions/{session_id}/resources(/{resource_id})?", WORKING),
    ("POST|DELETE", r"/v1/sessions/{session_id}/resources(/{resource_id})?", USING),
    ("POST", r"/v1/sessions/{session_id}/events", WORKING),
    ("POST", r"/v1/sessions/{session_id}(/archive|/threads/{thread_id}/archive)?", USING),
    ("DELETE", r"/v1/sessions/{session_id}", USING),
    ("GET|POST|DELETE", r"/v1/files(/.*)?", USING),
    ("GET", r"/v1/skills(/{skill_id}(/versions)?)?", USING),
    ("GET", r"/v1/skills/{skill_id}/versions/{skill_version_id}(/content)?", WORKING),
    ("POST|DELETE", r"/v1/skills(/.*)?", DEFINING),
    ("GET", r"/v1/memory_stores(/{memory_store_id}(/memory_versions(/.*)?)?)?", USING),
    ("GET|POST|DELETE", r"/v1/memory_stores/{memory_store_id}/memories(/.*)?", REMEMBERING),
    ("POST|DELETE", r"/v1/memory_stores(/{memory_store_id}(/archive|/memory_versions/.*)?)?", DEFINING),
    ("GET", r"/v1/deployments(/.*)?|/v1/deployment_runs(/.*)?", USING),
    ("POST", r"/v1/deployments(/{deployment_id}(/(archive|pause|unpause))?)?", DEFINING),
    ("POST", r"/v1/deployments/{deployment_id}/run", USING),
    ("GET", r"/v1/dreams(/{dream_id})?", USING),
    ("POST", r"/v1/dreams(/{dream_id}/(cancel|archive))?", DEFINING),
    ("GET", r"/v1/models(/{model_id:path})?", USING),
    ("GET", r"/outrider/v1/(host|folders|openapi.json)", USING),
    ("POST", r"/outrider/v1/sessions", USING),
    ("GET|POST|DELETE", r"/outrider/v1/webhooks.*", ADMIN),
    ("DELETE", r"/outrider/v1/workspaces/{workspace_id}", ADMIN),
    ("GET|POST", r"/outrider/v1/(keys.*|sessions/{session_id}/(move|repair|requests))", ADMIN),
]
"""Written down a second time, on purpose: who may do what is said here and in the app's table."""


@dataclass
class Scene:
    """Two workspaces on one server. `ids` are of things in the first one, by their names in paths."""

    server: Server
    first: str
    second: str
    ids: dict[str, str]

    def ask(self, key: str, method: str, path: str, body: Any = None, **more: str) -> httpx2.Response:
        url, content = f"{self.server.url}{path}", None if method == "GET" else json.dumps(body or {})
        return httpx2.request(method, url, headers=headers(key) | more, content=content, timeout=20)


@pytest.fixture(scope="module")
def scene() -> Generator[Scene]:
    with Stage().open() as stage, data_directory() as data:
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}) as server:
            done(data, "workspaces", "create", "second")
            second = done(data, "keys", "create", "other admin", "--scope", "admin", "--workspace", "second")
            yield Scene(server, server.key, second, things(server, stage))


def filled(path: str, ids: dict[str, str]) -> str:
    ids = ids | {"environment_id": ids["hosted_id"]} if "/work" in path else ids
    names = re.findall(r"{(\w+)", path)
    assert set(names) <= ids.keys(), f"say in `things` what {path} may name"
    return re.sub(r"{(\w+)[^}]*}", lambda found: ids[found[1]], path)


NAMING = [(one.method, one.path) for one in ROUTES if "{" in one.path and one.path not in OF_THE_SERVER]
FOR_WORKERS = tuple(Q + end for end in ("/poll", "/{work_id}/ack", "/{work_id}/heartbeat"))
"""What no admin may ask."""
LISTS = [one.path for one in ROUTES if one.method == "GET" and "{" not in one.path and one.path not in OF_THE_SERVER]
MAKERS = [one.path for one in ROUTES if one.method == "POST" and "{" not in one.path]


@pytest.fixture(scope="module")
def strange_worker(scene: Scene) -> str:
    """The key of an environment in the second workspace."""
    client = sdk_client(scene.server.url, scene.second)
    return key_of(client, environment_of(client))


@requirement("errors:404:other-workspace")
@pytest.mark.parametrize(("method", "path"), NAMING)
def test_what_another_workspace_has_is_as_unknown_as_what_nobody_has(
    scene: Scene, strange_worker: str, method: str, path: str
) -> None:
    body = BODIES.get((method, path))
    unknown = {name: id[:-6] + "000000" for name, id in scene.ids.items()}
    stranger = strange_worker if path in FOR_WORKERS else scene.second
    answers = [scene.ask(stranger, method, filled(path, ids), body) for ids in (scene.ids, unknown)]
    assert [answer.status_code for answer in answers] == [404, 404], answers[0].text
    texts = [answer.json()["error"]["message"] for answer in answers]
    for name, id in scene.ids.items():
        texts = [text.replace(id, name).replace(unknown[name], name) for text in texts]
    assert texts[0] == texts[1]
    if method == "GET" and not path.endswith("/stream"):
        assert scene.ask(scene.first, method, filled(path, scene.ids)).status_code != 404


@pytest.fixture(scope="module")
def worker(scene: Scene) -> str:
    """The key of the environment that has the work."""
    return key_of(sdk_client(scene.server.url, scene.first), scene.ids["hosted_id"])


CHANGING = [(one.method, one.path) for one in ROUTES if one.method != "GET"]


@requirement("transport:body:unknown-field")
@pytest.mark.parametrize(("method", "path"), CHANGING)
def test_no_request_takes_a_field_that_means_nothing_to_it(scene: Scene, worker: str, method: str, path: str) -> None:
    key = worker if path in FOR_WORKERS else scene.first
    answer = scene.ask(key, method, filled(path, scene.ids), {"bogus": 1})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error"), answer.text


@pytest.mark.parametrize("path", LISTS)
def test_lists_show_nothing_of_another_workspace(scene: Scene, path: str) -> None:
    shown = [scene.ask(key, "GET", path).text for key in (scene.first, scene.second)]
    assert any(id in shown[0] for id in scene.ids.values())
    assert not any(id in shown[1] for id in scene.ids.values())


def references(ids: dict[str, str], own: dict[str, str]) -> dict[str, list[Any]]:
    """For each route that makes something: requests that refer to what another workspace has."""
    whole = {"agent": own["agent_id"], "environment_id": own["environment_id"]}
    sessions = [
        whole | {"agent": ids["agent_id"]},
        whole | {"environment_id": ids["environment_id"]},
        whole | {"vault_ids": [ids["vault_id"]]},
        whole | {"resources": [{"type": "file", "file_id": ids["file_id"]}]},
    ]
    said = {"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}
    dreams = [(ids["memory_store_id"], own["session_id"]), (own["memory_store_id"], ids["session_id"])]
    deployed = whole | {"name": "second's", "initial_events": [said]}
    return {
        "/v1/agents": [
            {
                "name": "reader",
                "model": "any-model",
                "tools": [{"type": "agent_toolset_20260401"}],
                "skills": [{"type": "custom", "skill_id": ids["skill_id"]}],
            },
        ],
        "/v1/environments": [],
        "/v1/vaults": [],
        "/v1/files": [],
        "/v1/skills": [],
        "/v1/memory_stores": [],
        "/v1/deployments": [deployed | one for one in sessions],
        "/v1/dreams": [{"model": "any-model", "inputs": dream_inputs(*one)} for one in dreams],
        "/outrider/v1/webhooks": [],
        "/v1/sessions": sessions,
        "/outrider/v1/sessions": sessions,
        "/outrider/v1/keys": [
            {"name": "worker", "scope": "environment", "environment_id": ids["environment_id"]},
        ],
    }


def test_nothing_can_be_made_of_what_another_workspace_has(scene: Scene) -> None:
    client = sdk_client(scene.server.url, scene.second)
    agent = client.beta.agents.create(name="second's", model="any-model").id
    environment = client.beta.environments.create(name="second's").id
    session = client.beta.sessions.create(agent=agent, environment_id=environment).id
    store = client.beta.memory_stores.create(name="second's").id
    own = {"agent_id": agent, "environment_id": environment, "session_id": session, "memory_store_id": store}
    listed = references(scene.ids, own)
    assert set(listed) == set(MAKERS), "say in `references` what a new route may refer to"
    for path, bodies in listed.items():
        for body in bodies:
            assert scene.ask(scene.second, "POST", path, body).status_code == 404, body


def test_an_idempotency_key_of_another_workspace_answers_nobody_else(scene: Scene) -> None:
    body = {"name": "the same words", "model": "any-model"}
    again = {"idempotency-key": "shared-by-chance", "x-stainless-retry-count": "1"}
    made = [scene.ask(key, "POST", "/v1/agents", body, **again).json() for key in (scene.first, scene.second)]
    assert made[0]["id"] != made[1]["id"]
    assert scene.ask(scene.second, "GET", f"/v1/agents/{made[0]['id']}").status_code == 404


def test_events_sent_under_another_workspaces_key_reach_nobody(scene: Scene) -> None:
    """Also where the session's id is named beside a body that would be taken."""
    path = filled("/v1/sessions/{session_id}", scene.ids)
    hello = {"events": [{"type": "user.message", "content": [{"type": "text", "text": "from afar"}]}]}
    assert scene.ask(scene.second, "POST", f"{path}/events", hello).status_code == 404
    assert scene.ask(scene.first, "GET", f"{path}/events").json()["data"] == []


@pytest.fixture(scope="module")
def keys(scene: Scene) -> dict[Role, str]:
    """One of each scope, made by an admin over HTTP, and the token of a work item."""
    made: dict[Role, str] = {}
    for scope in get_args(Scope):
        body = {"name": f"a {scope}", "scope": scope}
        if scope == "environment":
            body["environment_id"] = scene.ids["environment_id"]
        made[scope] = scene.ask(scene.first, "POST", "/outrider/v1/keys", body).json()["key"]
    client = sdk_client(scene.server.url, scene.first)
    worker = sdk_client(scene.server.url, key_of(client, scene.ids["hosted_id"]))
    made["session"] = token_of(worker.beta.environments.work.poll(scene.ids["hosted_id"]))
    return made


def scopes_of(method: str, path: str) -> set[Role]:
    found = [who for methods, pattern, who in MAY if re.fullmatch(methods, method) and re.fullmatch(pattern, path)]
    assert len(found) == 1, f"say once in MAY who may ask {method} {path}"
    return found[0]


@pytest.mark.parametrize(("method", "path"), [(one.method, one.path) for one in ROUTES])
def test_each_scope_may_do_what_the_table_says_and_nothing_else(
    scene: Scene, keys: dict[Role, str], method: str, path: str
) -> None:
    """Unknown ids and empty bodies: who may ask is told so, who may not is refused before anything is looked at."""
    unknown = {name: id[:-6] + "000000" for name, id in scene.ids.items()} | {"model_id": "unknown"}
    allowed = scopes_of(method, path)
    for scope, key in keys.items():
        answer = scene.ask(key, method, filled(path, unknown))
        if scope in allowed:
            assert answer.status_code in (200, 400, 404), (scope, answer.text)
        else:
            assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error"), scope
            assert f"`{scope}`" in answer.json()["error"]["message"]


def test_a_user_can_run_a_defined_agent_and_no_other(scene: Scene, keys: dict[Role, str]) -> None:
    place = {"environment_id": scene.ids["environment_id"]}
    named = {"type": "agent", "id": scene.ids["agent_id"], "version": 1}
    made = scene.ask(keys["user"], "POST", "/v1/sessions", place | {"agent": named})
    assert made.status_code == 200, made.text
    path = f"/v1/sessions/{made.json()['id']}"
    assert scene.ask(keys["user"], "POST", path, {"title": "mine"}).status_code == 200
    other = {"type": "agent_with_overrides", "id": scene.ids["agent_id"], "system": "Do as I say."}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("/v1/sessions", place | {"agent": other}),
        (path, {"agent": {"tools": []}}),
    ]
    for where, body in changes:
        assert scene.ask(keys["user"], "POST", where, body).status_code == 403
        assert scene.ask(keys["developer"], "POST", where, body).status_code == 200


@requirement("transport:auth:environment-key")
def test_an_environments_key_reaches_the_sessions_of_that_environment_alone(
    scene: Scene, keys: dict[Role, str]
) -> None:
    client = sdk_client(scene.server.url, scene.first)
    elsewhere = client.beta.environments.create(name="elsewhere").id
    other = client.beta.sessions.create(agent=scene.ids["agent_id"], environment_id=elsewhere).id
    worker = sdk_client(scene.server.url, keys["environment"])
    own, api = scene.ids["session_id"], worker.beta.sessions
    assert api.retrieve(own).environment_id == scene.ids["environment_id"]
    with api.events.stream(own) as stream:
        assert stream.response.status_code == 200
    assert list(api.events.list(own)) == []
    for method, path in NAMING:
        if scopes_of(method, path) == WORKING and "session_id" in path:
            ids = scene.ids | {"session_id": other}
            body = RESULT if method == "POST" else None
            assert scene.ask(keys["environment"], method, filled(path, ids), body).status_code == 404


def test_a_worker_may_bring_the_skills_of_its_environments_sessions_and_no_others(scene: Scene) -> None:
    client = sdk_client(scene.server.url, scene.first)
    other = client.beta.skills.create(files=[("b/SKILL.md", b"---\nname: other\ndescription: Another.\n---\n")])
    skilled: Any = [{"type": "custom", "skill_id": scene.ids["skill_id"]}]
    tools: Any = [{"type": "agent_toolset_20260401"}]
    agent = client.beta.agents.create(name="skilled", model="any-model", tools=tools, skills=skilled).id
    environment = environment_of(client)
    versions = sdk_client(scene.server.url, key_of(client, environment)).beta.skills.versions
    with refused(404, scene.ids["skill_id"]):
        versions.retrieve("latest", skill_id=scene.ids["skill_id"])
    client.beta.sessions.create(agent=agent, environment_id=environment)
    found = versions.retrieve("latest", skill_id=scene.ids["skill_id"])
    assert versions.download(found.id, skill_id=scene.ids["skill_id"]).read()
    with refused(404, other.id):
        versions.retrieve("latest", skill_id=other.id)
    with refused(404, other.id):
        versions.download(str(other.latest_version_id), skill_id=other.id)


RESULT: Any = {"events": [result("sevt_unknown", "of a worker")]}
SAYINGS: list[Any] = [
    {"type": "user.message", "content": [{"type": "text", "text": "Obey."}]},
    {"type": "user.interrupt"},
    {"type": "user.tool_confirmation", "tool_use_id": "sevt_unknown", "result": "allow"},
]


@requirement("work:sends")
@pytest.mark.parametrize("saying", SAYINGS, ids=lambda saying: saying["type"])
def test_a_worker_gives_results_and_never_speaks_for_the_user(
    scene: Scene, keys: dict[Role, str], saying: dict[str, Any]
) -> None:
    workers: list[tuple[Role, str]] = [("environment", scene.ids["session_id"]), ("session", session_of(scene))]
    for role, session in workers:
        path = f"/v1/sessions/{session}/events"
        answer = scene.ask(keys[role], "POST", path, {"events": [*RESULT["events"], saying]})
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error"), role
        assert saying["type"] in answer.json()["error"]["message"]
        assert scene.ask(keys[role], "POST", path, RESULT).status_code == 400
        said = scene.ask(scene.first, "GET", f"{path}?types[]={saying['type']}").json()["data"]
        assert len(said) <= (role == "session")


def session_of(scene: Scene) -> str:
    """The session that the work item is for."""
    path = filled("/v1/environments/{environment_id}/work/{work_id}", scene.ids)
    return scene.ask(scene.first, "GET", path).json()["data"]["id"]


def test_a_work_items_token_reaches_its_session_and_item_and_nothing_else(scene: Scene, keys: dict[Role, str]) -> None:
    client, own = sdk_client(scene.server.url, scene.first), session_of(scene)
    session = client.beta.sessions.retrieve(own)
    sibling = client.beta.sessions.create(agent=session.agent.id, environment_id=session.environment_id).id
    token, hosted = keys["session"], scene.ids["hosted_id"]
    assert scene.ask(token, "GET", f"/v1/sessions/{own}").status_code == 200
    assert scene.ask(token, "GET", f"/v1/sessions/{own}/events").status_code == 200
    work = f"/v1/environments/{hosted}/work/{scene.ids['work_id']}"
    assert scene.ask(token, "POST", f"{work}/heartbeat").status_code in (200, 412)
    for method, path in NAMING:
        if "session" in scopes_of(method, path):
            for strange in ({"session_id": sibling}, {"work_id": "work_other"}, {"hosted_id": "env_other"}):
                if any(name.replace("hosted", "environment") in path for name in strange) and "/memories" not in path:
                    asked = filled(path, scene.ids | {"session_id": own} | strange)
                    assert scene.ask(token, method, asked, RESULT if "events" in path else None).status_code == 404
    store = filled("/v1/memory_stores/{memory_store_id}/memories", scene.ids)
    assert scene.ask(token, "GET", store).status_code == 404
    assert scene.ask(token, "POST", store, {"path": "/b", "content": ""}).status_code == 404
