"""How a database comes to its schema, and how two adjacent releases run on it side by side."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from outrider.errors import Internal
from outrider.store.postgres import PostgresStore, connections
from outrider.store.postgres.migrations import PACKAGE, migrate
from outrider.store.postgres.transaction import QUERIES, numbered
from outrider.store.scripts import Script, shipped
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.store_trial import Trial, event
from outrider.testing.work_suite import E, W, active

pytestmark = pytest.mark.anyio
NEWEST = len(shipped(PACKAGE))
NEXT: list[Script] = [
    *shipped(PACKAGE),
    (NEWEST + 1, "next.sql", "ALTER TABLE sessions ADD COLUMN note text;\nCREATE TABLE notes (text text);\n"),
]
BROKEN: Script = (NEWEST + 1, "broken.sql", "CREATE TABLE half (text text);\nCREATE TABLE heads (again text);\n")


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(postgres.database())


async def ask(url: str, query: str) -> str:
    link = await connections.to_read(url)
    try:
        return str(await link.fetchval(query))
    finally:
        await link.close()


async def change(url: str, statement: str) -> None:
    link = await connections.to_write(url)
    await link.execute(statement)
    await link.close()


def test_the_shipped_scripts_are_numbered_without_a_gap() -> None:
    assert [number for number, _, _ in shipped(PACKAGE)] == list(range(1, NEWEST + 1))


async def test_processes_that_start_together_migrate_once_and_agree_on_the_workspace(url: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(url) for _ in range(4)))
    assert len({store.default_workspace for store in stores}) == 1
    await asyncio.gather(*(store.close() for store in stores))
    assert await ask(url, "SELECT count(*) FROM schema_version") == str(NEWEST)


async def test_a_process_of_this_release_goes_on_while_the_next_one_has_migrated(url: str) -> None:
    trial = Trial()
    async with await PostgresStore.open(url, on_commit=trial.commit) as trial.opened:
        lease = await trial.owned()
        lease = await trial.store.append_owned(lease, [event("a")])
        async with await PostgresStore.open(url, scripts=NEXT) as newer:
            lease = await trial.store.append_owned(lease, [event("b")])
            await trial.session("sesn_2")
            assert [row.id for row in await newer.read(lease.key)] == ["a", "b"]
        assert (await trial.store.append_owned(lease, [event("c")])).head == 3


async def test_what_a_release_before_moves_does_not_look_as_if_it_had_stood(url: str) -> None:
    trial = Trial()
    async with await PostgresStore.open(url, on_commit=trial.commit) as trial.opened:
        await active(trial)
        (held,) = await trial.store.held_work(W, E)
        await trial.store.note_standing(W, E, replace(held, stood=290))
        assert await trial.store.held_work(W, E) == [replace(held, stood=290)]
        await change(url, "UPDATE work_items SET beats = beats + 1")
        (moved,) = await trial.store.held_work(W, E)
        assert moved == replace(held, beats=held.beats + 1)
        await trial.store.note_standing(W, E, replace(moved, stood=75))
        assert await trial.store.all_held_work() == [(W, E, replace(moved, stood=75))]


async def test_answers_that_would_outlive_what_they_are_about_go_with_their_script(url: str) -> None:
    end = next(number for number, name, _ in shipped(PACKAGE) if "answers_about_nothing" in name)
    link = await connections.to_write(url)
    await migrate(link, shipped(PACKAGE)[: end - 1])
    bodies = {"sesn_1/x": b"{}", "a": b'{"id":"sesn_1"}', "b": b'{"id":"agent_1"}', "c": b'{"id":"mem_1"}', "d": b"{}"}
    for name, body in bodies.items():
        await link.execute("INSERT INTO answers VALUES ('w', $1, 'now', 200, $2, 0)", name, body)
    await link.execute("INSERT INTO answers_about VALUES ('w', 'vlt_1', 'd', 'now')")
    await migrate(link, shipped(PACKAGE))
    await link.close()
    assert await ask(url, "SELECT string_agg(idempotency, ' ' ORDER BY idempotency) FROM answers") == "a b d sesn_1/x"


@pytest.mark.parametrize(("held", "partitions"), [([], "16"), (["a"], "64")])
async def test_a_database_without_events_gets_fewer_partitions_while_a_process_goes_on(
    url: str, held: list[str], partitions: str
) -> None:
    trial = Trial()
    end = next(number for number, name, _ in shipped(PACKAGE) if "fewer_partitions" in name)
    async with await PostgresStore.open(url, on_commit=trial.commit, scripts=shipped(PACKAGE)[: end - 1]) as store:
        trial.opened = store
        lease = await trial.owned()
        if held:
            lease = await trial.store.append_owned(lease, [event(name) for name in held])
        link = await connections.to_write(url)
        await migrate(link, shipped(PACKAGE))
        await link.close()
        await trial.store.append_owned(lease, [event("b")])
        assert [row.id for row in await trial.store.read(lease.key)] == [*held, "b"]
    assert await ask(url, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass") == partitions
    assert await ask(url, "SELECT tgname FROM pg_trigger WHERE tgrelid = 'events'::regclass") == "events_told"


async def test_a_newer_schema_is_refused_with_both_versions_named_and_left_alone(url: str) -> None:
    async with await PostgresStore.open(url, scripts=NEXT):
        pass
    with pytest.raises(Internal, match=rf"schema version {NEWEST + 1}.*knows {NEWEST}"):
        await PostgresStore.open(url)
    assert await ask(url, "SELECT max(version) FROM schema_version") == str(NEWEST + 1)


async def test_a_script_that_fails_leaves_nothing_of_itself(url: str) -> None:
    with pytest.raises(Internal, match="heads"):
        await PostgresStore.open(url, scripts=[*shipped(PACKAGE), BROKEN])
    assert await ask(url, "SELECT max(version) FROM schema_version") == str(NEWEST)
    assert await ask(url, "SELECT to_regclass('half')") == "None"
    link = await connections.to_write(url)
    assert await migrate(link, NEXT) == NEWEST + 1
    await link.close()


async def test_a_database_in_another_encoding_is_refused(postgres: PostgresServer) -> None:
    postgres.drop("latin")
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(Internal, match="LATIN1; UTF8 is needed"):
        await PostgresStore.open(postgres.url("latin"))


def test_names_become_numbers_and_casts_stay() -> None:
    text = "-- Says: what\nSELECT :a::text, :b WHERE x = :a AND y = 'z';"
    assert numbered(text) == ("-- Says: what\nSELECT $1::text, $2 WHERE x = $1 AND y = 'z'", ("a", "b"))


def test_every_query_names_the_workspace_or_a_log_or_says_why_not() -> None:
    """A query about one workspace's things must not be able to reach another's."""
    of_the_server = {
        "settled", "enrol", "settle", "resign", "forget_writers", "claim_waiting", "beat", "beats", "lock_owned_wakes",
        "let_wait", "mark_buried", "tell_of_waiting", "runnable", "living", "has_sessions", "places",
        "key_by_digest", "first_key",
        "forget_answers", "default_workspace", "insert_default_workspace", "changes", "secret_refs", "resting",
        "owned", "unattended", "place", "placement", "placements", "unplace", "workspaces",
        "insert_workspace", "insert_key", "put_first_key",
        "drop_replaced_key", "access_revision", "raise_access_revision", "abandoned_files", "expired_files",
        "abandon_announced", "untold", "webhooks_due", "forget_deliveries", "forget_changes", "last_change", "courier",
        "first_courier", "appoint", "beat_courier", "resign_courier", "orphaned_attachments", "forget_attachments",
        "deployments_due", "pending_runs", "unsettled_dreams", "all_held_work", "forget_answers_about",
        "doomed_workspaces", "tables_of_workspaces", "forget_workspaces",
    }  # fmt: skip
    loose = {
        name for name, (_, names) in QUERIES.items() if not {"workspace", "workspaces", "log", "logs"} & set(names)
    }
    assert loose <= of_the_server
