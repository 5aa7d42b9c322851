"""Webhooks, received by a real server and verified by the SDK: endpoints, events, attempts, and endings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator
from typing import Any

import pytest
from anthropic import Anthropic
from anthropic.types.beta.beta_webhook_event import BetaWebhookEvent
from click.testing import CliRunner
from live_server import Server, Stage, data_directory, serving
from on_disk import holding
from standardwebhooks import WebhookVerificationError
from surface import TOUCHED
from webhook_receiver import Came, Receiver, ask, delivery

from conformance.requirements import requirement
from outrider.cli import cli
from outrider.models.scripted.script import ToolUse, Turn, Usage
from outrider.resources.webhooks import EVENTS, NEVER
from outrider.testing.strict import strict_parse

CONFIG = """
[endpoints.dear]
base_url = "{url}"
auth = "none"
models = ["dear-*"]
price = {{ input = 10, output = 100, cache_read = 1, cache_write = 20 }}

[webhooks]
allow_private = ["127.0.0.1"]
retry_first = 0.02
retry_most = 0.05
timeout = 10
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    with Receiver().open() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(stage: Stage, store: dict[str, str]) -> Generator[Server]:
    with data_directory() as data:
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url} | store, config=CONFIG.format(url=stage.url)) as server:
            yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Anthropic:
    return server.client()


class Endpoint:
    """An endpoint of the server with a path of its own at the receiver."""

    def __init__(self, server: Server, receiver: Receiver, events: list[str], *answers: int) -> None:
        self.path = f"/hook-{next(_numbers)}"
        self.receiver, self._server = receiver, server
        url = receiver.answer(self.path, *answers)
        self.made = self.ask("POST", "", {"url": url, "enabled_events": events})
        self.id, self.secret = self.made["id"], self.made["signing_secret"]

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        return ask(self._server.url, self._server.key, method, path, body, status=status)

    def came(self, count: int) -> list[Came]:
        return self.receiver.wait(self.path, lambda came: len(came) >= count)

    def deliveries(self, *states: str) -> list[Any]:
        """Oldest first, once they are in these states."""
        url, key = self._server.url, self._server.key
        found = delivery(url, key, self.id, lambda found: sorted(one["state"] for one in found) == sorted(states))
        return found[::-1]


@pytest.fixture
def hook(server: Server, receiver: Receiver) -> Generator[Any]:
    made: list[Endpoint] = []

    def make(events: list[str], *answers: int) -> Endpoint:
        made.append(Endpoint(server, receiver, events, *answers))
        return made[-1]

    yield make
    left = {one["id"] for one in ask(server.url, server.key, "GET", "?limit=100")["data"]}
    for one in made:
        if one.id in left:
            one.ask("DELETE", f"/{one.id}")


def verified(client: Anthropic, came: Came, secret: str) -> BetaWebhookEvent:
    TOUCHED.answer(strict_parse(BetaWebhookEvent, came.body.encode()))
    event = client.beta.webhooks.unwrap(came.body, headers=dict(came.headers), key=secret)
    assert client.beta.webhooks.parse_unverified(came.body) == event
    TOUCHED.calls.update(("webhooks.unwrap", "webhooks.parse_unverified"))
    return event


def said(client: Anthropic, endpoint: Endpoint, count: int) -> list[tuple[str, str]]:
    """(type, id) of what came, in the order of the events."""
    events = [verified(client, one, endpoint.secret) for one in endpoint.came(count)]
    events.sort(key=lambda event: (event.created_at, event.id))
    return [(event.data.type, event.data.id) for event in events]


@requirement("webhooks:signature", "webhooks:attempts", "webhooks:id", "webhooks:thin")
def test_a_receiver_that_fails_twice_gets_the_event_a_third_time_and_the_sdk_verifies_it(
    client: Anthropic, hook: Any
) -> None:
    endpoint: Endpoint = hook(["vault.created"], 500, 503)
    vault = client.beta.vaults.create(display_name="Ada")
    came = endpoint.came(3)
    assert len({one.event for one in came}) == 1
    event = verified(client, came[2], endpoint.secret)
    assert (event.id, event.data.type, event.data.id) == (came[2].event, "vault.created", vault.id)
    assert event.created_at == vault.created_at
    assert json.loads(came[2].body)["data"].keys() == {"type", "id", "organization_id", "workspace_id"}
    (log,) = endpoint.deliveries("delivered")
    assert (log["attempts"], log["response_status"], log["problem"]) == (3, 204, None)
    assert (log["event_id"], log["event_type"]) == (event.id, "vault.created")
    with pytest.raises(WebhookVerificationError):
        client.beta.webhooks.unwrap(came[2].body + " ", headers=dict(came[2].headers), key=endpoint.secret)


@requirement("webhooks:attempts:dropped", "webhooks:resend")
def test_an_event_that_fails_three_times_is_dropped_and_can_be_sent_again_under_its_id(
    client: Anthropic, hook: Any
) -> None:
    endpoint: Endpoint = hook(["vault.created"], 500, 404, 500)
    client.beta.vaults.create(display_name="Ada")
    (dropped,) = endpoint.deliveries("failed")
    assert (dropped["attempts"], dropped["response_status"]) == (3, 500)
    again = endpoint.ask("POST", f"/{endpoint.id}/deliveries/{dropped['id']}/resend")
    assert (again["state"], again["attempts"]) == ("pending", 0)
    assert {one.event for one in endpoint.came(4)} == {dropped["event_id"]}
    (done,) = endpoint.deliveries("delivered")
    assert endpoint.ask("GET", f"/{endpoint.id}/deliveries/{done['id']}") == done
    assert endpoint.ask("GET", f"/{endpoint.id}/deliveries?state=failed")["data"] == []
    endpoint.ask("GET", f"/{endpoint.id}/deliveries?state=lost", status=400)
    endpoint.ask("POST", f"/{endpoint.id}/deliveries/whd_unknown/resend", status=404)
    endpoint.ask("POST", f"/{endpoint.id}", {"state": "disabled"})
    endpoint.ask("POST", f"/{endpoint.id}/deliveries/{done['id']}/resend", status=400)


@requirement("webhooks:events:session", "webhooks:events:thread")
def test_a_sessions_life_is_told(client: Anthropic, stage: Stage, hook: Any) -> None:
    kinds = sorted(kind for kind in EVENTS if kind.startswith("session."))
    agent = client.beta.agents.create(
        name="asks", model=stage.put("hooked", Turn("Hi.")), tools=[{"type": "agent_toolset_20260401"}]
    )
    environment = client.beta.environments.create(name="hooked")
    endpoint: Endpoint = hook(kinds)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}]
    )
    turn = {"session.running", "session.status_run_started", "session.idled", "session.status_idled"}
    endpoint.receiver.wait(endpoint.path, lambda came: _types(came) >= turn)
    client.beta.sessions.update(session.id, title="named")
    client.beta.sessions.archive(session.id)
    client.beta.sessions.delete(session.id)
    last = {"session.updated", "session.archived", "session.deleted", "session.status_terminated"}
    told = turn | last | {"session.created", "session.thread_idled", "session.thread_terminated"}
    came = endpoint.receiver.wait(endpoint.path, lambda came: _types(came) >= told)
    assert len(came) == len(told)
    events = [verified(client, one, endpoint.secret) for one in came]
    assert {event.data.type for event in events} == told
    assert {event.data.id for event in events} == {session.id}
    threads: list[Any] = [event.data.to_dict() for event in events if "thread" in event.data.type]
    assert all(one["session_thread_id"].startswith("sthr_") for one in threads)


def _types(came: list[Came]) -> set[str]:
    return {json.loads(one.body)["data"]["type"] for one in came}


@requirement("webhooks:events:session")
def test_a_session_that_waits_for_an_answer_says_so(client: Anthropic, stage: Stage, hook: Any) -> None:
    tool: Any = {"type": "custom", "name": "ask", "description": "Asks.", "input_schema": {"type": "object"}}
    turn = Turn(ToolUse("ask", {}))
    agent = client.beta.agents.create(name="asks", model=stage.put("asking", turn, Turn("Hi.")), tools=[tool])
    environment = client.beta.environments.create(name="hooked")
    endpoint: Endpoint = hook(["session.requires_action"])
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, initial_events=[message])
    assert said(client, endpoint, 1) == [("session.requires_action", session.id)]


@requirement("webhooks:events:budget")
def test_a_session_that_reached_its_budget_says_so(client: Anthropic, stage: Stage, hook: Any) -> None:
    tool: Any = {"type": "custom", "name": "ask", "description": "Asks.", "input_schema": {"type": "object"}}
    model = stage.put("dear-one", Turn(ToolUse("ask", {}), usage=Usage(input_tokens=1_000, output_tokens=500)))
    agent = client.beta.agents.create(name="asks", model=model, tools=[tool])
    environment = client.beta.environments.create(name="hooked")
    endpoint: Endpoint = hook(["session.requires_action", "session.budget_reached"])
    budget: Any = {"type": "limit", "max_list_cost": {"amount": "5", "currency": "USD"}}
    hello: Any = {"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}
    session = client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, initial_events=[hello], budget=budget
    )
    assert said(client, endpoint, 1) == [("session.requires_action", session.id)]
    (use,) = [one for one in client.beta.sessions.events.list(session.id) if one.type == "agent.custom_tool_use"]
    answer: Any = {"type": "user.custom_tool_result", "custom_tool_use_id": use.id, "content": []}
    client.beta.sessions.events.send(session.id, events=[answer])
    assert said(client, endpoint, 2)[1] == ("session.budget_reached", session.id)


@requirement("webhooks:events:vault", "webhooks:events:agent", "webhooks:events:environment", "webhooks:events:memory")
def test_what_sessions_are_made_of_is_told(client: Anthropic, hook: Any) -> None:
    kinds = sorted(kind for kind in EVENTS if not kind.startswith("session."))
    endpoint: Endpoint = hook(kinds)
    agent = client.beta.agents.create(name="a", model="any")
    client.beta.agents.update(agent.id, version=agent.version, name="a")
    client.beta.agents.update(agent.id, version=agent.version, name="b")
    for _ in range(2):
        client.beta.agents.archive(agent.id)
    one, two = (client.beta.environments.create(name=name) for name in ("one", "two"))
    client.beta.environments.update(one.id, name="other")
    client.beta.environments.archive(one.id)
    client.beta.environments.delete(two.id)
    vault = client.beta.vaults.create(display_name="Ada")
    auth: Any = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com", "token": "x"}
    credential = client.beta.vaults.credentials.create(vault.id, auth=auth)
    client.beta.vaults.archive(vault.id)
    client.beta.vaults.delete(vault.id)
    store = client.beta.memory_stores.create(name="notes")
    client.beta.memory_stores.archive(store.id)
    client.beta.memory_stores.delete(store.id)
    of_credential = [(f"vault_credential.{what}", credential.id) for what in ("created", "archived", "deleted")]
    expected = [
        *((f"agent.{what}", agent.id) for what in ("created", "updated", "archived")),
        *((f"environment.{what}", one.id) for what in ("created", "updated", "archived")),
        *((f"environment.{what}", two.id) for what in ("created", "deleted")),
        *((f"vault.{what}", vault.id) for what in ("created", "archived", "deleted")),
        *of_credential,
        *((f"memory_store.{what}", store.id) for what in ("created", "archived", "deleted")),
    ]
    assert sorted(said(client, endpoint, len(expected))) == sorted(expected)
    events = [json.loads(came.body)["data"] for came in endpoint.came(len(expected))]
    assert {one["vault_id"] for one in events if one["id"] == credential.id} == {vault.id}


@requirement("webhooks:events:deployment")
def test_what_becomes_of_a_deployment_is_told(client: Anthropic, hook: Any) -> None:
    """Of runs only those of its schedule: a run by hand is known to whoever asked for it."""
    kinds = [f"deployment.{what}" for what in ("created", "updated", "paused", "unpaused", "archived")]
    endpoint = hook([*kinds, "deployment_run.started", "deployment_run.succeeded", "deployment_run.failed"])
    agent = client.beta.agents.create(name="a", model="any-model").id
    place = client.beta.environments.create(name="e").id
    say: Any = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
    api = client.beta.deployments
    made = api.create(name="d", agent=agent, environment_id=place, initial_events=[say]).id
    api.update(made, name="other")
    for change in (api.update, api.pause, api.pause, api.run, api.unpause, api.archive, api.archive):
        change(made)
    assert said(client, endpoint, len(kinds)) == [(kind, made) for kind in kinds]


@requirement("webhooks:redirect")
def test_a_redirect_is_not_followed_and_disables_the_endpoint_until_somebody_enables_it(
    client: Anthropic, hook: Any
) -> None:
    endpoint: Endpoint = hook(["vault.created"], 302)
    client.beta.vaults.create(display_name="Ada")
    (failed,) = endpoint.deliveries("failed")
    assert (failed["attempts"], failed["response_status"]) == (1, 302)
    shown = endpoint.ask("GET", f"/{endpoint.id}")
    assert (shown["state"], shown["disabled_reason"]) == ("disabled", "redirect")
    client.beta.vaults.create(display_name="Bea")
    shown = endpoint.ask("POST", f"/{endpoint.id}", {"state": "enabled"})
    assert (shown["state"], shown["disabled_reason"]) == ("enabled", "")
    cleo = client.beta.vaults.create(display_name="Cleo")
    assert [id for _, id in said(client, endpoint, 2)][1:] == [cleo.id]
    assert endpoint.receiver.came("/elsewhere") == []


@requirement("webhooks:secret", "webhooks:endpoint")
def test_an_endpoint_is_shown_changed_and_given_another_secret(client: Anthropic, hook: Any) -> None:
    endpoint: Endpoint = hook(["vault.created", "vault.archived"])
    made = dict(endpoint.made)
    assert made.pop("signing_secret").startswith("whsec_")
    assert made == {
        "id": endpoint.id, "type": "webhook_endpoint", "url": f"{endpoint.receiver.url}{endpoint.path}",
        "name": "", "description": "", "enabled_events": ["vault.archived", "vault.created"], "state": "enabled",
        "disabled_reason": "", "created_at": made["created_at"], "updated_at": made["created_at"],
    }  # fmt: skip
    assert endpoint.ask("GET", f"/{endpoint.id}") == made
    assert made in endpoint.ask("GET", "?limit=100")["data"]
    elsewhere = endpoint.receiver.answer(f"{endpoint.path}-moved")
    change = {"url": elsewhere, "name": "n", "description": "d", "enabled_events": ["vault.created"]}
    changed = endpoint.ask("POST", f"/{endpoint.id}", change)
    assert changed == made | change | {"updated_at": changed["updated_at"]}
    assert endpoint.ask("POST", f"/{endpoint.id}", {"enabled_events": []}) == changed
    fresh = endpoint.ask("POST", f"/{endpoint.id}/regenerate_signing_secret")
    assert fresh.keys() == {"signing_secret"}
    vault = client.beta.vaults.create(display_name="Ada")
    (came,) = endpoint.receiver.wait(f"{endpoint.path}-moved", bool)
    assert verified(client, came, fresh["signing_secret"]).data.id == vault.id
    with pytest.raises(WebhookVerificationError):
        verified(client, came, endpoint.secret)


@requirement("webhooks:url", "webhooks:never")
def test_what_an_endpoint_may_not_be_is_refused(server: Server, hook: Any) -> None:
    def refuse(message: str, **more: Any) -> None:
        body: dict[str, Any] = {"url": "https://example.com/", "enabled_events": ["vault.created"]} | more
        answer = ask(server.url, server.key, "POST", "", body, status=400)
        assert message in answer["error"]["message"]

    for url in (
        "ftp://example.com/",
        "https:///x",
        "https://a@example.com/",
        "https://example.com/#a",
        "x",
        "http://[",
    ):
        refuse("url", url=url)
    refuse("url", url="https://example.com/" + "a" * 2100)
    refuse("enabled_events", enabled_events=[])
    refuse("no event type", enabled_events=["vault.opened"])
    refuse("name", name="n" * 300)
    refuse("unknown field", signing_secret="whsec_mine")
    for kind, why in NEVER.items():
        refuse(why, enabled_events=["vault.created", kind])
    ask(server.url, server.key, "GET", "/whk_unknown", status=404)
    endpoint: Endpoint = hook(["vault.created"])
    ask(server.url, server.key, "POST", f"/{endpoint.id}", {"state": "gone"}, status=400)
    ask(server.url, server.key, "POST", f"/{endpoint.id}", {"url": "x"}, status=400)


@requirement("webhooks:key")
def test_an_endpoints_secret_is_nowhere_but_in_the_vault(server: Server, hook: Any) -> None:
    endpoint: Endpoint = hook(["vault.created"])
    assert holding(server.data, endpoint.secret.removeprefix("whsec_")) == []


def test_unwrapping_needs_the_right_endpoints_secret(client: Anthropic, hook: Any) -> None:
    one, other = hook(["vault.created"]), hook(["vault.created"])
    vault = client.beta.vaults.create(display_name="Ada")
    for endpoint in (one, other):
        assert said(client, endpoint, 1) == [("vault.created", vault.id)]
    with pytest.raises(WebhookVerificationError):
        verified(client, one.came(1)[0], other.secret)
    assert one.came(1)[0].event == other.came(1)[0].event


def test_deleting_an_endpoint_forgets_it(hook: Any) -> None:
    endpoint: Endpoint = hook(["vault.created"])
    assert endpoint.ask("DELETE", f"/{endpoint.id}") == {"id": endpoint.id, "type": "webhook_endpoint_deleted"}
    for path in ("", "/deliveries"):
        endpoint.ask("GET", f"/{endpoint.id}{path}", status=404)


# -- from the terminal


def terminal(server: Server, *words: str, fails: bool = False) -> tuple[str, str]:
    """What `outrider webhooks ...` says on standard output, and on standard error."""
    of = ["webhooks", *words, "--data", str(server.data)]
    said = CliRunner().invoke(cli, of, env={"OUTRIDER_API_KEY": server.key})
    assert (said.exit_code != 0) == fails, said.output
    return said.stdout, said.stderr


@requirement("webhooks:endpoint")
def test_an_endpoint_is_kept_from_the_terminal(server: Server, client: Anthropic, receiver: Receiver) -> None:
    path = f"/hook-{next(_numbers)}"
    url = receiver.answer(path, 400, 400, 400)
    secret, said_of = terminal(server, "create", url, "--event", "vault.created", "--name", "mine")
    id = said_of.partition(":")[0]
    assert terminal(server, "list")[0].splitlines()[0] == f"{id}  enabled  1 event types  {url}  mine"
    client.beta.vaults.create(display_name="Ada")
    (failed,) = delivery(server.url, server.key, id, lambda found: [one["state"] for one in found] == ["failed"])
    line = f"{failed['id']}  {failed['created_at']}  vault.created"
    assert terminal(server, "deliveries", id, "--state", "failed")[0] == (
        f"{line}  failed after 3: 400, it did not answer with a 2xx\n"
    )
    terminal(server, "resend", id, failed["id"])
    came = receiver.wait(path, lambda came: len(came) == 4)
    assert verified(client, came[3], secret.strip()).id == failed["event_id"]
    delivery(server.url, server.key, id, lambda found: [one["state"] for one in found] == ["delivered"])
    fresh, _ = terminal(server, "secret", id)
    terminal(server, "update", id, "--event", "vault.archived", "--event", "vault.created", "--description", "d")
    vault = client.beta.vaults.create(display_name="Bea")
    assert verified(client, receiver.wait(path, lambda came: len(came) == 5)[4], fresh.strip()).data.id == vault.id
    terminal(server, "disable", id)
    shown, _ = terminal(server, "show", id)
    assert [line.split() for line in shown.splitlines()[3:5]] == [["description", "d"], ["state", "disabled"]]
    assert shown.splitlines()[-2:] == [f"{'events':<12} vault.archived", f"{'':<12} vault.created"]
    assert "enable it first" in terminal(server, "resend", id, failed["id"], fails=True)[1]
    terminal(server, "enable", id)
    terminal(server, "delete", id)
    assert f"Webhook {id} not found" in terminal(server, "show", id, fails=True)[1]


def test_every_event_type_can_be_asked_for_from_the_terminal(server: Server, receiver: Receiver) -> None:
    url = receiver.answer(f"/hook-{next(_numbers)}")
    known = CliRunner().invoke(cli, ["webhooks", "events"]).stdout
    assert known.split() == sorted(EVENTS)
    _, said_of = terminal(server, "create", url, "--all")
    assert f"told {len(EVENTS)} event types" in said_of
    terminal(server, "delete", said_of.partition(":")[0])
    for wrong in ([], ["--all", "--event", "vault.created"]):
        assert "--event" in terminal(server, "create", url, *wrong, fails=True)[1]
    assert "no event type" in terminal(server, "create", url, "--event", "vault.opened", fails=True)[1]
    assert "what is to be changed" in terminal(server, "update", "whk_1", fails=True)[1]
