"""The work queue's routes, one by one, as a worker and an operator ask them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server
from session_talk import Talk
from strict_wire import Inspector, StrictTransport
from turns import TOOLSET, error_of, refused
from workers import environment_of, key_of, live_work, token_of

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn

NO_HEARTBEAT = "NO_HEARTBEAT"


@dataclass
class Queue:
    """An environment with one waiting session; `worker` has its key."""

    id: str
    worker: Anthropic
    talk: Talk

    @property
    def work(self) -> Any:
        return self.worker.beta.environments.work

    def given(self, **asked: Any) -> Any:
        """The first item that comes."""
        for _ in range(100):
            item = self.work.poll(self.id, **asked)
            if item is not None:
                return item
        raise AssertionError("nothing came")

    def taken(self) -> Any:
        """The item, polled and acknowledged."""
        item = self.work.poll(self.id)
        assert item is not None
        self.work.ack(item.id, environment_id=self.id)
        return item

    def beat(self, item: Any, expected: str, **more: Any) -> Any:
        return self.work.heartbeat(item.id, environment_id=self.id, expected_last_heartbeat=expected, **more)


@pytest.fixture
def queue(play: Play, client: Anthropic, server: Server, inspector: Inspector) -> Queue:
    environment = environment_of(client)
    http = httpx2.Client(transport=StrictTransport(inspector))
    worker = server.client(http_client=http).with_options(api_key=key_of(client, environment))
    bash = ToolUse("bash", {"command": "ls"})
    talk = play(Turn(bash), Turn(bash), Turn("Done."), tools=[TOOLSET], environment_id=environment)
    talk.say("go")
    talk.wait()
    return Queue(environment, worker, talk)


@requirement("work:poll", "work:poll:null", "work:poll:secret", "work:ack", "work:object:fields")
def test_an_item_is_polled_once_with_its_secret_and_acknowledged(queue: Queue, client: Anthropic) -> None:
    item = queue.work.poll(queue.id)
    assert item is not None
    assert (item.state, item.data.id, item.environment_id) == ("queued", queue.talk.id, queue.id)
    assert token_of(item)
    assert queue.work.poll(queue.id) is None
    stats = client.beta.environments.work.stats(queue.id)
    assert (stats.depth, stats.pending) == (0, 1)
    acked = queue.work.ack(item.id, environment_id=queue.id)
    assert (acked.state, acked.secret) == ("starting", None)
    assert queue.work.ack(item.id, environment_id=queue.id) == acked
    assert client.beta.environments.work.retrieve(item.id, environment_id=queue.id) == acked


@requirement("work:poll:block")
def test_a_poll_that_may_wait_hears_of_work_as_soon_as_it_is_queued(queue: Queue, client: Anthropic) -> None:
    queue.taken()
    agent = client.beta.sessions.retrieve(queue.talk.id).agent.id
    other = Talk(client, client.beta.sessions.create(agent=agent, environment_id=queue.id).id)
    threading.Timer(0.1, lambda: other.say("go")).start()
    found = queue.given(block_ms=999)
    assert found.data.id == other.id
    for wrong in (0, 1000):
        with refused(400, "block_ms"):
            queue.work.poll(queue.id, block_ms=wrong)


@requirement("work:poll:reclaim")
def test_an_item_that_was_not_acknowledged_is_given_again(queue: Queue, server: Server) -> None:
    first = queue.work.poll(queue.id)
    assert queue.work.poll(queue.id, reclaim_older_than_ms=60_000) is None
    again = queue.given(reclaim_older_than_ms=1)
    assert again.id == first.id
    with refused(401), server.client() as late:
        late.with_options(api_key=token_of(first)).beta.sessions.retrieve(queue.talk.id)


@requirement("work:heartbeat", "work:heartbeat:precondition", "errors:412", "errors:code:heartbeat_precondition_failed")
def test_each_heartbeat_follows_the_one_before(queue: Queue) -> None:
    item = queue.taken()
    first = queue.beat(item, NO_HEARTBEAT)
    assert (first.state, first.lease_extended, first.ttl_seconds) == ("active", True, 300)
    second = queue.beat(item, first.last_heartbeat, desired_ttl_seconds=1)
    assert second.last_heartbeat != first.last_heartbeat
    assert second.ttl_seconds == 10
    with refused(412, error_code="heartbeat_precondition_failed") as caught:
        queue.beat(item, NO_HEARTBEAT)
    current = caught.value.body["error"]["details"]["current_state"]
    assert current == {
        "state": "active",
        "last_heartbeat": second.last_heartbeat,
        "ttl_seconds": 10,
        "lease_extended": False,
    }
    retried = queue.beat(item, first.last_heartbeat, extra_headers={"x-stainless-retry-count": "1"})
    assert retried.last_heartbeat == second.last_heartbeat


@requirement("work:heartbeat:precondition")
def test_a_holder_that_did_not_hear_the_answer_to_a_heartbeat_may_ask_again(queue: Queue, server: Server) -> None:
    """Later, and unmarked, as the SDK's worker does when its attempts were in vain. A second holder can't join so."""
    item = queue.taken()
    with server.client() as base:
        holder = base.with_options(api_key=token_of(item)).beta.environments.work

        def beat(expected: str) -> Any:
            return holder.heartbeat(item.id, environment_id=queue.id, expected_last_heartbeat=expected)

        first = beat(NO_HEARTBEAT)
        with refused(412):
            beat(NO_HEARTBEAT)
        second = beat(first.last_heartbeat)
        assert beat(first.last_heartbeat).last_heartbeat == second.last_heartbeat
        with refused(412):
            queue.beat(item, first.last_heartbeat)
        assert beat(second.last_heartbeat).last_heartbeat != second.last_heartbeat
        with refused(412):
            beat(first.last_heartbeat)


@requirement("work:stop:graceful", "work:stop:force")
def test_a_graceful_stop_is_heard_of_at_the_next_heartbeat(queue: Queue, client: Anthropic) -> None:
    item = queue.taken()
    queue.beat(item, NO_HEARTBEAT)
    stopping = client.beta.environments.work.stop(item.id, environment_id=queue.id)
    assert stopping.state == "stopping"
    assert stopping.stop_requested_at
    told = queue.beat(item, "whatever")
    assert (told.state, told.lease_extended) == ("stopping", True)
    stopped = queue.work.stop(item.id, environment_id=queue.id, force=True)
    assert stopped.state == "stopped"
    told = queue.beat(item, "whatever")
    assert (told.state, told.lease_extended) == ("stopped", False)
    assert queue.work.stop(item.id, environment_id=queue.id, force=True) == stopped


@requirement("work:requeue")
def test_a_session_that_still_waits_gets_another_item_and_one_that_rests_gets_none(
    queue: Queue, client: Anthropic
) -> None:
    first = queue.taken()
    queue.work.stop(first.id, environment_id=queue.id, force=True)
    (second,) = live_work(client, queue.id)
    assert second.id != first.id
    queue.talk.send({"type": "user.interrupt"})
    queue.talk.wait()
    assert queue.work.poll(queue.id) is None
    assert live_work(client, queue.id) == []
    queue.talk.say("go on")
    queue.talk.wait()
    assert queue.taken().data.id == queue.talk.id


@requirement("work:token")
def test_a_token_is_worthless_once_its_item_is_stopped_and_its_stream_ends(queue: Queue, server: Server) -> None:
    item = queue.taken()
    with server.client() as base:
        holder = base.with_options(api_key=token_of(item))
        holder.beta.environments.work.heartbeat(item.id, environment_id=queue.id)
        ended = threading.Event()
        stream = holder.beta.sessions.events.stream(queue.talk.id)
        threading.Thread(target=lambda: (list(stream), ended.set()), daemon=True).start()
        holder.beta.environments.work.stop(item.id, environment_id=queue.id, force=True)
        assert ended.wait(20)
        with refused(401):
            holder.beta.sessions.retrieve(queue.talk.id)


@requirement("work:token:key")
def test_a_token_ends_with_the_key_that_its_item_was_taken_with(
    queue: Queue, client: Anthropic, server: Server
) -> None:
    """So that who revokes a worker's key is rid of that worker."""
    keys, admin = f"{server.url}/outrider/v1/keys", {"authorization": f"Bearer {server.key}"}
    made = httpx2.get(keys, headers=admin, timeout=20).json()["data"]
    (name,) = (key["id"] for key in made if key["environment_id"] == queue.id)
    item, other = queue.taken(), key_of(client, queue.id)
    with server.client() as base:
        holder = base.with_options(api_key=token_of(item))
        assert holder.beta.sessions.retrieve(queue.talk.id).id == queue.talk.id
        assert httpx2.post(f"{keys}/{name}/revoke", headers=admin, timeout=20).status_code == 200
        for gone in (holder, queue.worker):
            with refused(401):
                gone.beta.sessions.retrieve(queue.talk.id)
        next_worker = base.with_options(api_key=other)
        assert next_worker.beta.sessions.retrieve(queue.talk.id).id == queue.talk.id


@requirement("work:list", "work:retrieve", "work:update", "work:update:metadata")
def test_operators_look_at_items_and_mark_them(queue: Queue, client: Anthropic) -> None:
    work = client.beta.environments.work
    for _ in range(2):
        item = queue.taken()
        queue.work.stop(item.id, environment_id=queue.id, force=True)
    newest, *older = [item.id for item in work.list(queue.id, limit=1)]
    assert [item.id for item in queue.work.list(queue.id)] == [newest, *older]
    assert len(older) == 2
    work.update(newest, environment_id=queue.id, metadata={"a": "1", "b": "2"})
    marked = work.update(newest, environment_id=queue.id, metadata={"a": None, "c": "3"})
    assert marked.metadata == {"b": "2", "c": "3"}
    assert work.retrieve(newest, environment_id=queue.id).metadata == marked.metadata
    with refused(400, "metadata"):
        work.update(newest, environment_id=queue.id, metadata={"k" * 65: "v"})
    with refused(404, "work_unknown"):
        work.retrieve("work_unknown", environment_id=queue.id)


def test_an_environment_of_this_servers_own_sandboxes_has_no_queue(client: Anthropic, raw: httpx2.Client) -> None:
    cloud = client.beta.environments.create(name="cloud").id
    with refused(400, "is not self-hosted"):
        client.beta.environments.work.stats(cloud)
    answer = raw.get("/v1/environments/env_unknown/work/stats")
    assert "env_unknown" in error_of(answer, 404, "not_found_error")


@requirement("work:session:deleted")
def test_a_deleted_session_takes_its_work_with_it(queue: Queue, client: Anthropic) -> None:
    client.beta.sessions.delete(queue.talk.id)
    assert list(client.beta.environments.work.list(queue.id)) == []
    assert queue.work.poll(queue.id) is None
