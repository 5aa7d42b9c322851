"""Lists: their pages, their cursors, their orders and sizes."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from turns import refused, said

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn


def agents(client: Anthropic, count: int) -> list[Any]:
    return [client.beta.agents.create(name=f"agent {number}", model="any-model") for number in range(count)]


def sessions(client: Anthropic, count: int) -> list[Any]:
    """Sessions of an agent of their own, oldest first."""
    (agent,) = agents(client, 1)
    environment = client.beta.environments.create(name="tests").id
    return [client.beta.sessions.create(agent=agent.id, environment_id=environment) for _ in range(count)]


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


@requirement("pagination:envelope", "pagination:page", "pagination:no-prev-page", "pagination:sdk-iterates")
@requirement("pagination:agents")
def test_pages_follow_each_other_without_gap_or_repeat(client: Anthropic, raw: httpx2.Client) -> None:
    made = ids(agents(client, 5))[::-1]
    since = {"created_at[gte]": client.beta.agents.retrieve(made[-1]).created_at.isoformat()}
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = since | {"limit": "2"} | ({"page": cursor} if cursor else {})
        body = raw.get("/v1/agents", params=query).json()
        assert body.keys() == {"data", "next_page"}
        found += [one["id"] for one in body["data"]]
        cursor = body["next_page"]
        if cursor is None:
            break
    assert found == made
    assert ids(client.beta.agents.list(limit=2, extra_query=since)) == made


@requirement("pagination:agents", "pagination:agent-versions", "pagination:environments", "pagination:sessions")
def test_newest_come_first_and_twenty_at_a_time(client: Anthropic) -> None:
    (agent,) = agents(client, 1)
    for number in range(21):
        client.beta.agents.update(agent.id, name=f"version {number}")
        client.beta.agents.create(name="filler", model="any-model")
        client.beta.environments.create(name="filler")
        client.beta.sessions.create(agent=agent.id, environment_id=client.beta.environments.list(limit=1).data[0].id)
    versions = client.beta.agents.versions.list(agent.id)
    assert [one.version for one in versions.data] == list(range(22, 2, -1))
    assert versions.has_next_page()
    lists: list[Any] = [client.beta.agents.list(), client.beta.environments.list()]
    for listed in (*lists, client.beta.sessions.list(agent_id=agent.id)):
        assert len(listed.data) == 20
        assert listed.has_next_page()
        times = [one.created_at for one in listed.data]
        assert times == sorted(times, reverse=True)


@requirement("pagination:limit:zero", "pagination:agents", "pagination:agent-versions", "pagination:environments")
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/v1/agents", 100),
        ("/v1/agents/{agent}/versions", 100),
        ("/v1/environments", 100),
        ("/v1/sessions", 1000),
        ("/v1/sessions/{session}/events", 1000),
        ("/v1/sessions/{session}/threads", 1000),
        ("/v1/sessions/{session}/threads/{thread}/events", 1000),
    ],
)
def test_a_limit_is_from_one_to_the_lists_maximum(client: Anthropic, raw: httpx2.Client, path: str, most: int) -> None:
    (session,) = sessions(client, 1)
    (thread,) = client.beta.sessions.threads.list(session.id)
    path = path.format(agent=session.agent.id, session=session.id, thread=thread.id)
    assert raw.get(path, params={"limit": 1}).status_code == 200
    assert raw.get(path, params={"limit": most}).status_code == 200
    for limit in ("0", "-1", str(most + 1), "many", ""):
        answer = raw.get(path, params={"limit": limit})
        assert answer.status_code == 400
        assert "limit" in answer.json()["error"]["message"]


@requirement("pagination:prev-page", "pagination:sessions", "pagination:cursor:order", "pagination:sdk-iterates")
def test_sessions_can_be_walked_both_ways_in_both_orders(client: Anthropic) -> None:
    made = sessions(client, 5)
    agent = made[0].agent.id
    for order, wanted in (("desc", ids(made)[::-1]), ("asc", ids(made))):

        def page(cursor: str | None, order: Any = order, limit: int = 2) -> Any:
            more: Any = {"page": cursor} if cursor else {}
            return client.beta.sessions.list(agent_id=agent, order=order, limit=limit, **more)

        first = page(None)
        second = page(first.next_page)
        third = page(second.next_page)
        assert [ids(one.data) for one in (first, second, third)] == [wanted[:2], wanted[2:4], wanted[4:]]
        assert (first.prev_page, third.next_page) == (None, None)
        back = page(third.prev_page)
        assert (ids(back.data), ids(page(back.prev_page).data)) == (wanted[2:4], wanted[:2])
        assert page(back.prev_page).prev_page is None
        with refused(400, "order"):
            page(first.next_page, order="asc" if order == "desc" else "desc")
        assert ids(page(None)) == wanted


@requirement("pagination:cursor:other-filters", "pagination:cursor:outside-range")
def test_a_cursor_allows_other_filters_but_no_range_that_shuts_it_out(client: Anthropic) -> None:
    made = sessions(client, 5)
    agent = made[0].agent.id
    client.beta.sessions.archive(made[1].id)
    cursor = client.beta.sessions.list(agent_id=agent, limit=2).next_page or ""
    listing = client.beta.sessions.list
    assert ids(listing(agent_id=agent, limit=1, page=cursor).data) == [made[2].id]
    wider = listing(agent_id=agent, limit=9, page=cursor, include_archived=True)
    assert ids(wider.data) == [made[2].id, made[1].id, made[0].id]
    assert ids(listing(agent_id=agent, page=cursor, statuses=["idle"]).data) == [made[2].id, made[0].id]
    fits = listing(agent_id=agent, page=cursor, created_at_gte=made[2].created_at)
    assert ids(fits.data) == [made[2].id]
    with refused(400, "created_at"):
        listing(agent_id=agent, page=cursor, created_at_lt=made[2].created_at)


@requirement("pagination:cursor:malformed", "pagination:cursor:other-list")
def test_a_cursor_must_come_from_the_list_that_it_is_used_on(client: Anthropic, play: Play) -> None:
    agents(client, 2)
    cursor = client.beta.agents.list(limit=1).next_page or ""
    talk = play(Turn("Hi."))
    lists: list[Any] = [client.beta.environments.list, client.beta.sessions.list, talk.history]
    for listing in lists:
        with refused(400, "page"):
            listing(page=cursor)
    for made_up in ("nonsense", cursor[:-4], cursor + "AAAA", "äöü", "W10"):
        with refused(400, "page"):
            client.beta.agents.list(page=made_up)


@requirement("pagination:cursor:other-list")
def test_a_cursor_of_one_owners_list_is_refused_on_anothers(client: Anthropic, play: Play) -> None:
    one, other = (client.beta.memory_stores.create(name="notes").id for _ in range(2))
    path = "/" + "/".join(["é" * 26] * 18) + "/" + "x" * 69  # as long as a path may be
    for store in (one, other):
        for place in (path, "/~"):
            client.beta.memory_stores.memories.create(store, path=place, content="")
    first, second = agents(client, 2)
    for agent in (first, second):
        client.beta.agents.update(agent.id, name="another")
    talk, quiet = play(Turn("Hi.")), play()
    said(talk, "Hello")
    lists: list[tuple[Any, str, str]] = [
        (client.beta.agents.versions.list, first.id, second.id),
        (client.beta.sessions.events.list, talk.id, quiet.id),
        (client.beta.memory_stores.memories.list, one, other),
        (client.beta.memory_stores.memory_versions.list, one, other),
    ]
    for listing, own, others in lists:
        cursor = listing(own, limit=1).next_page
        assert listing(own, limit=1, page=cursor).data
        with refused(400, "page"):
            listing(others, page=cursor)


@requirement("pagination:events", "pagination:sdk-iterates", "pagination:cursor:order")
def test_a_history_is_paged_oldest_first(play: Play, raw: httpx2.Client) -> None:
    talk = play(*(Turn(f"Answer {number}.") for number in range(4)))
    events = said(talk, *(f"question {number}" for number in range(4)))
    assert ids(talk.history(limit=3)) == ids(talk.history(limit=1000)) == ids(events)
    assert ids(talk.history(limit=3, order="desc")) == ids(events)[::-1]
    body = raw.get(f"/v1/sessions/{talk.id}/events", params={"limit": 3}).json()
    assert body.keys() == {"data", "next_page"}
    with refused(400, "order"):
        talk.history(page=body["next_page"], order="desc")
    rest = talk.history(page=body["next_page"], types=["agent.message"])
    assert len(rest) == 4


@requirement("pagination:events")
def test_a_history_gives_a_thousand_events_at_a_time(play: Play) -> None:
    talk = play(Turn("Hi."))
    for _ in range(21):
        talk.send(*[{"type": "user.interrupt"}] * 50)  # each is stored, and nothing else happens
    page = talk.client.beta.sessions.events.list(talk.id)
    assert (len(page.data), page.has_next_page()) == (1000, True)
    assert len(talk.history()) == 1050


@requirement("pagination:no-prev-page")
def test_threads_are_one_page(client: Anthropic, raw: httpx2.Client) -> None:
    (session,) = sessions(client, 1)
    body = raw.get(f"/v1/sessions/{session.id}/threads").json()
    assert body.keys() == {"data", "next_page"}
    assert (len(body["data"]), body["next_page"]) == (1, None)
