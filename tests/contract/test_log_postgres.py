"""What only the PostgreSQL store promises: lost connections and servers, unknown outcomes, refusals, notifications."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from cutting_proxy import CuttingProxy
from postgres_trial import empty_database

from outrider.errors import Conflict, Fenced, Internal, InvalidRequest, NotFound, Overloaded, StorageFull
from outrider.ports.log import KeptAnswer, Lease, NewEvent, SessionKey, StoredAnswer
from outrider.ports.records import Footing, Page
from outrider.store.postgres import PostgresStore, connections, jobs
from outrider.store.postgres.transaction import Link, Transaction
from outrider.testing.environments_suite import outcome
from outrider.testing.files_suite import added, copied, file
from outrider.testing.postgres_server import PostgresServer, postgres_server
from outrider.testing.records_suite import agent, environment
from outrider.testing.store_trial import THREAD, Trial, event, record, waiting
from outrider.testing.vaults_suite import credential, vault

pytestmark = pytest.mark.anyio
A = "wrkspc_a"


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    return await empty_database(postgres)


@pytest.fixture
async def trial(url: str) -> AsyncIterator[Trial]:
    fresh = Trial()
    async with await PostgresStore.open(url, on_commit=fresh.commit, on_delete=fresh.delete) as fresh.opened:
        yield fresh


@pytest.fixture
def crashing() -> Iterator[PostgresServer]:
    """A server of one's own, with a disk that counts."""
    with postgres_server() as server:
        yield server


@dataclass
class Cut:
    """A store whose connections go through a proxy that breaks them."""

    trial: Trial
    proxy: CuttingProxy


@pytest.fixture
async def cut(postgres: PostgresServer, url: str) -> AsyncIterator[Cut]:
    database = url.partition("?")[0].rpartition("/")[2]
    async with CuttingProxy(postgres.port).open() as proxy:
        # asyncpg leaves an error that nobody hears behind when it is cut off while it asks whether there is TLS
        through = replace(postgres, port=proxy.port).url(database, tcp=True) + "?sslmode=disable"
        fresh = Trial()
        async with await PostgresStore.open(through, on_commit=fresh.commit, on_delete=fresh.delete) as fresh.opened:
            yield Cut(fresh, proxy)


async def listed(trial: Trial, key: SessionKey) -> list[str]:
    return [row.id for row in await trial.store.read(key)]


def announced(trial: Trial, key: SessionKey) -> list[str]:
    return [row.id for of, rows in trial.commits if of == key for row in rows]


MOMENTS: list[Literal["request", "answer"]] = ["request", "answer"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_an_append_whose_outcome_is_unknown_is_stored_once_answered_and_announced(
    cut: Cut, moment: Literal["request", "answer"]
) -> None:
    lease = await cut.trial.owned()
    cut.proxy.cut(moment)
    lease = await cut.trial.store.append_owned(lease, [event("a"), event("b")])
    assert cut.proxy.cuts == 1
    assert (lease.head, lease.writer_head) == (2, 2)
    cut.proxy.cut(moment)
    assert await cut.trial.store.append_client(lease.key, [waiting("c")], if_head=2, wake=True) == 3
    assert (await cut.trial.store.append_owned(lease, [event("d")])).head == 4
    assert await listed(cut.trial, lease.key) == announced(cut.trial, lease.key) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_session_made_and_claimed_in_a_commit_of_unknown_outcome_is_owned_by_its_maker(
    cut: Cut, moment: Literal["request", "answer"]
) -> None:
    keep = KeptAnswer("once", "2026", StoredAnswer(200, b"{}"))
    await cut.trial.owned("sesn_0")  # the connection is there
    cut.proxy.cut(moment)
    lease = await cut.trial.store.create_session(
        record("sesn_1"), [event("a"), waiting("b")], wake=True, worker="worker_1", keep=keep
    )
    assert lease == Lease(SessionKey(A, "sesn_1"), "worker_1", 1, 2, 0)
    assert lease is not None
    assert await cut.trial.store.answer(A, "once", not_before="") == keep.answer
    assert announced(cut.trial, lease.key) == ["a", "b"]
    assert (await cut.trial.store.append_owned(lease, [event("c")])).head == 3


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_claim_of_unknown_outcome_gives_the_lease_that_was_taken(
    cut: Cut, moment: Literal["request", "answer"]
) -> None:
    key = await cut.trial.session(wake=True)
    for skip in range(4):  # BEGIN, the writer's row, the claim, its answer, COMMIT: each may be what is lost
        cut.proxy.cut(moment)
        (lease,) = await cut.trial.store.claim(f"worker_{skip}", limit=1)
        assert lease.key == key
        assert (await cut.trial.store.append_owned(lease, [event(f"e{skip}")])).head == skip + 1
        assert await cut.trial.store.bury(f"worker_{skip}") == 1


async def test_an_answer_lost_at_commit_is_given_once_more_and_nothing_done_again(cut: Cut) -> None:
    """The last message of a transaction is COMMIT; its answer is what gets lost."""
    await cut.trial.owned()
    await cut_at_commit(cut, cut.trial.store.put_agent(agent("agent_1"), if_version=None))
    assert await cut.trial.store.agent(A, "agent_1") == agent("agent_1")
    with pytest.raises(Conflict):
        await cut.trial.store.put_agent(agent("agent_1"), if_version=None)
    await cut_at_commit(cut, cut.trial.store.delete_session(SessionKey(A, "sesn_1"), if_head=0))
    assert cut.trial.deletions == [SessionKey(A, "sesn_1")]
    with pytest.raises(NotFound):
        await cut.trial.store.delete_session(SessionKey(A, "sesn_1"), if_head=0)


@pytest.mark.parametrize("moment", ["request", "answer", "commit"])
async def test_a_session_made_with_files_in_a_commit_of_unknown_outcome_has_each_once(cut: Cut, moment: Any) -> None:
    await cut.trial.owned("sesn_0")  # the connection is there
    await added(cut.trial.store, file("file_1"))
    made = cut.trial.store.create_session(
        record("sesn_1"), [event("a")], wake=True, worker="worker_1", files=copied("file_1", "file_2")
    )
    if moment != "commit":
        cut.proxy.cut(moment)
    lease = await (cut_at_commit(cut, made) if moment == "commit" else made)
    assert lease == Lease(SessionKey(A, "sesn_1"), "worker_1", 1, 1, 0)
    assert [one.id for one in await cut.trial.store.files(A, Page(limit=9), session="sesn_1")] == ["file_2"]
    assert announced(cut.trial, SessionKey(A, "sesn_1")) == ["a"]


async def cut_at_commit(cut: Cut, call: Awaitable[Any]) -> Any:
    cut.proxy.cut_after(b"COMMIT")
    before = cut.proxy.cuts
    found = await call
    assert cut.proxy.cuts == before + 1
    return found


async def test_many_appends_at_once_survive_connections_that_keep_breaking(cut: Cut) -> None:
    leases = [await cut.trial.owned(f"sesn_{n}") for n in range(12)]

    async def own(lease: Lease) -> None:
        for n in range(15):
            lease = await cut.trial.store.append_owned(lease, [event(f"{n}")])

    async def breaks() -> None:
        for n in range(12):
            before = cut.proxy.cuts
            cut.proxy.cut(MOMENTS[n % 2])
            while cut.proxy.cuts == before and not all(task.done() for task in tasks):  # noqa: ASYNC110 (some append)
                await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(own(lease)) for lease in leases]
    await asyncio.gather(breaks(), *tasks)
    for lease in leases:
        expected = [f"{n}" for n in range(15)]
        assert await listed(cut.trial, lease.key) == announced(cut.trial, lease.key) == expected


async def test_a_server_that_stays_away_is_a_529_within_the_deadline_and_all_is_well_when_it_is_back(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outrider.store.postgres.writer.DEADLINE_SECONDS", 0.5)
    monkeypatch.setattr("outrider.store.postgres.readers.DEADLINE_SECONDS", 0.5)
    leases = [await cut.trial.owned(f"sesn_{n}") for n in range(3)]
    cut.proxy.refuse(True)
    async with asyncio.timeout(10):
        calls = [cut.trial.store.append_owned(lease, [event("a")]) for lease in leases]
        outcomes = await asyncio.gather(*calls, cut.trial.store.read(leases[0].key), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Overloaded}
    assert all("can't be reached" in str(outcome) for outcome in outcomes)
    monkeypatch.undo()
    cut.proxy.refuse(False)
    for lease in leases:
        assert (await cut.trial.store.append_owned(lease, [event("a")])).head == 1
        assert await listed(cut.trial, lease.key) == announced(cut.trial, lease.key) == ["a"]


async def test_the_server_restarted_in_mid_append_loses_nothing(crashing: PostgresServer) -> None:
    """Once in order, once as by a crash: callers wait and are answered."""
    trial = Trial()
    url = crashing.url(crashing.database())
    async with await PostgresStore.open(url, on_commit=trial.commit) as trial.opened:
        leases = [await trial.owned(f"sesn_{n}") for n in range(6)]
        stop = asyncio.Event()
        counts: list[int] = []

        async def own(lease: Lease) -> None:
            count = 0
            while not stop.is_set():
                lease = await trial.store.append_owned(lease, [event(f"{count}")])
                count += 1
            assert lease.head == count
            counts.append(count)

        tasks = [asyncio.create_task(own(lease)) for lease in leases]
        for end in (crashing.stop, crashing.kill):
            await until(lambda: len(trial.commits), more_than=len(trial.commits) + 20)
            await asyncio.to_thread(end)
            await asyncio.to_thread(crashing.start)
        await until(lambda: len(trial.commits), more_than=len(trial.commits) + 20)
        stop.set()
        await asyncio.gather(*tasks)
        for lease in leases:
            found = await listed(trial, lease.key)
            assert found == announced(trial, lease.key) == [f"{n}" for n in range(len(found))]
        assert sum(counts) == len(trial.commits)


async def until(look: Callable[[], int], *, more_than: int) -> None:
    async with asyncio.timeout(20):
        while look() <= more_than:  # noqa: ASYNC110 (many tasks do what it waits for)
            await asyncio.sleep(0.005)


async def test_a_read_only_database_is_a_529_that_says_so_and_ends(trial: Trial, postgres: PostgresServer) -> None:
    lease = await trial.owned()
    async with setting(postgres, "default_transaction_read_only", "on"):
        await drop_connections(postgres)
        with pytest.raises(Overloaded, match="read-only"):
            await trial.store.append_owned(lease, [event("a")])
        with pytest.raises(Overloaded, match="read-only"):
            await trial.store.put_agent(agent("agent_1"), if_version=None)
        assert await trial.store.head(lease.key) == 0
    await drop_connections(postgres)
    assert (await trial.store.append_owned(lease, [event("a")])).head == 1
    assert announced(trial, lease.key) == ["a"]


async def drop_connections(server: PostgresServer) -> None:
    clients = "pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    await asyncio.to_thread(server.sql, f"SELECT pg_terminate_backend(pid) FROM {clients}")


@asynccontextmanager
async def setting(server: PostgresServer, name: str, value: str) -> AsyncGenerator[None]:
    await asyncio.to_thread(server.sql, f"ALTER ROLE outrider SET {name} = '{value}'")
    try:
        yield
    finally:
        await asyncio.to_thread(server.sql, f"BEGIN READ WRITE; ALTER ROLE outrider RESET {name}; COMMIT")


async def test_a_full_disk_is_storage_full_and_the_store_goes_on_when_there_is_room(trial: Trial, url: str) -> None:
    """The server says what it says when its disk is full: by a trigger, since a real full disk is a whole server's."""
    lease = await trial.owned()
    link = await connections.to_read(url)
    try:
        await link.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
            "CREATE TRIGGER full_disk BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION full_disk()"
        )
        try:
            with pytest.raises(StorageFull):
                await trial.store.append_owned(lease, [event("a")])
        finally:
            await link.execute("DROP FUNCTION full_disk CASCADE")
    finally:
        await link.close()
    assert (await trial.store.append_owned(lease, [event("a")])).head == 1
    assert announced(trial, lease.key) == ["a"]


async def test_values_that_cannot_be_stored_fail_alone(trial: Trial) -> None:
    leases = [await trial.owned(f"sesn_{n}") for n in range(5)]
    names = ["a", "\ud800", "b", "nul\0", "c"]
    calls = [
        trial.store.append_owned(
            lease, [NewEvent(name, "agent.message", b"{}", THREAD, processed_at="2026-01-01T00:00:00.000000Z")]
        )
        for lease, name in zip(leases, names, strict=True)
    ]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Lease, Internal, Lease, Internal, Lease]
    assert await trial.store.head(leases[1].key) == 0
    assert (await trial.store.append_owned(leases[1], [event("fine")])).head == 1


async def test_what_no_id_can_hold_is_not_found(trial: Trial) -> None:
    await trial.owned()
    assert await trial.store.session(SessionKey(A, "sesn_1\0")) is None
    assert await trial.store.read(SessionKey(A, "sesn_1\0")) == []
    assert await trial.store.agent(A, "\0") is None


async def test_an_append_whose_caller_goes_away_is_stored_and_announced_all_the_same(trial: Trial) -> None:
    lease = await trial.owned()
    caller = asyncio.ensure_future(trial.store.append_owned(lease, [event("a")]))
    await asyncio.sleep(0)  # let it hand the job over
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await trial.store.append_client(lease.key, [waiting("b")], if_head=None, wake=True)
    assert await listed(trial, lease.key) == announced(trial, lease.key) == ["a", "b"]


async def test_closing_finishes_what_was_asked_for_and_refuses_the_rest(url: str) -> None:
    trial = Trial()
    store = trial.opened = await PostgresStore.open(url)
    leases = [await trial.owned(f"sesn_{n}") for n in range(20)]
    appends = [asyncio.ensure_future(store.append_owned(lease, [event("a")])) for lease in leases]
    await asyncio.sleep(0)  # let them hand their jobs over
    await store.close()
    assert [lease.head for lease in await asyncio.gather(*appends)] == [1] * 20
    with pytest.raises(Internal, match="closed"):
        await store.append_owned(leases[0], [event("b")])
    with pytest.raises(Internal, match="closed"):
        await store.read(leases[0].key)


async def test_two_stores_on_one_database_fence_each_others_owners(trial: Trial, url: str) -> None:
    lease = await trial.owned()
    async with await PostgresStore.open(url) as two:
        assert two.default_workspace == trial.store.default_workspace
        await trial.store.append_owned(lease, [event("a")])
        assert await two.bury("worker_1") == 1
        (new,) = await two.claim("worker_2", limit=1)
        assert (new.epoch, new.head, new.writer_head) == (3, 1, 1)
        await two.append_owned(new, [event("b")])
        with pytest.raises(Fenced):
            await trial.store.append_owned(Lease(lease.key, "worker_1", lease.epoch, 1, 1), [event("zombie")])
    assert await listed(trial, lease.key) == ["a", "b"]


async def test_stores_that_append_claim_and_release_the_same_sessions_neither_lock_up_nor_lose_a_wake(url: str) -> None:
    """Two processes' worth: clients post through both, owners of both take and give up whatever waits."""
    trials = [Trial(), Trial()]
    keys = [SessionKey(f"wrkspc_{n % 3}", f"sesn_{n}") for n in range(10)]
    read: dict[SessionKey, int] = dict.fromkeys(keys, 0)
    done = asyncio.Event()

    async def clients(trial: Trial, name: str) -> None:
        for n in range(25):
            calls = [trial.store.append_client(k, [waiting(f"{name}.{n}")], if_head=None, wake=True) for k in keys]
            await asyncio.gather(*calls)

    async def owners(trial: Trial, worker: str) -> None:
        while not done.is_set() or await trial.store.runnable():
            leases = await trial.store.claim(worker, limit=3)
            await asyncio.gather(*(turn(trial, lease) for lease in leases))

    async def turn(trial: Trial, lease: Lease) -> None:
        lease = await trial.store.append_owned(lease, [event(f"turn.{lease.epoch}")])
        while True:
            head = read[lease.key] = await trial.store.head(lease.key)
            if await trial.store.release(lease, if_head=head):
                return

    async with (
        await PostgresStore.open(url, on_commit=trials[0].commit) as trials[0].opened,
        await PostgresStore.open(url, on_commit=trials[1].commit) as trials[1].opened,
    ):
        for key in keys:
            await trials[0].session(key.session, workspace=key.workspace)
        async with asyncio.timeout(40):
            working = [asyncio.create_task(owners(trial, f"w{n}")) for n, trial in enumerate(trials)]
            await asyncio.gather(*(clients(trial, f"c{n}") for n, trial in enumerate(trials)))
            done.set()
            await asyncio.gather(*working)
        for key in keys:
            rows = await trials[0].store.read(key)
            assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
            assert sum(row.type == "user.message" for row in rows) == 50
            assert read[key] >= max(row.seq for row in rows if row.type == "user.message"), "a wake was lost"
        assert await trials[0].store.beats() == {}


async def test_commits_are_told_to_other_processes_with_the_senders_name(trial: Trial, url: str) -> None:
    heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def hear(_link: Any, _pid: int, channel: str, said: str) -> None:
        heard.put_nowait((channel, said))

    link: Any = await connections.to_read(url)
    try:
        for channel in ("outrider_heads", "outrider_wakes"):
            await link.add_listener(channel, hear)
        store = trial.store
        assert isinstance(store, PostgresStore)
        key = await trial.session()
        await store.append_client(key, [waiting("a")], if_head=0, wake=True)
        async with asyncio.timeout(10):
            told = [await heard.get(), await heard.get()]
        assert told[0][0] == "outrider_heads"
        assert json.loads(told[0][1]) == {"from": store.writer, "heads": [[A, "sesn_1", 1]]}
        assert told[1] == ("outrider_wakes", store.writer)
        keys = [await trial.session(f"sesn_{n:0100}") for n in range(90)]
        await asyncio.gather(*(store.append_client(k, [waiting("a")], if_head=0, wake=False) for k in keys))
        heads: list[Any] = []
        async with asyncio.timeout(10):
            while len(heads) < 90:
                channel, said = await heard.get()
                assert channel == "outrider_heads"
                assert len(said) < 7900
                heads += json.loads(said)["heads"]
        assert sorted(session for _, session, _ in heads) == sorted(k.session for k in keys)
    finally:
        await link.close()


async def test_passwords_stay_out_of_errors(postgres: PostgresServer) -> None:
    wrong = postgres.url("nowhere", tcp=True)
    for url in (wrong, wrong.replace(postgres.password, "wrong"), "postgresql://u:s3cret@[::1", "http://u:s3cret@x/y"):
        with pytest.raises((Internal, Overloaded)) as refused:
            await PostgresStore.open(url)
        said = f"{refused.value!r} {refused.value.__cause__!r}"
        assert postgres.password not in said
        assert "s3cret" not in said


async def test_a_session_is_left_to_the_living_node_that_has_its_files(trial: Trial) -> None:
    store = trial.store
    await store.beat("node-a/1")
    await store.beat("node-b/1")
    kept = await trial.session("sesn_kept", wake=True)
    await store.place("sesn_kept", "node-a")
    free = await trial.session("sesn_free", wake=True)
    boxed = await trial.session("sesn_boxed", wake=True)
    await store.place("sesn_boxed", "node")  # a sandbox host may be called so
    assert not await store.claim("node-b/1", limit=1, key=kept)
    (first,) = await store.claim("node-b/1", limit=1)
    (second,) = await store.claim("node-b/1", limit=9)
    assert {first.key, second.key} == {free, boxed}
    (mine,) = await store.claim("node-a/2", limit=9)
    assert mine.key == kept
    await store.surrender(kept, "node-a/2")
    await store.bury("node-a/1")
    (others,) = await store.claim("node-b/1", limit=9)
    assert others.key == kept


async def test_a_message_does_not_take_a_session_from_the_node_that_has_its_files(trial: Trial) -> None:
    store = trial.store
    await store.beat("node-a/1")
    key = await trial.session()
    await store.place("sesn_1", "node-a")
    rows = [waiting("a")]
    _, lease = await store.take_in(key, rows, if_head=0, patch=None, wake=True, worker="node-b/1")
    assert lease is None
    (lease,) = await store.claim("node-a/1", limit=1)
    assert lease.key == key


async def until_waiting(link: Link, statements: int = 1) -> None:
    """Until so many statements wait for what other transactions hold."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while await link.fetchval(waiting) < statements:  # noqa: ASYNC110 (another process does what it waits for)
            await asyncio.sleep(0.005)


@pytest.fixture
async def others(url: str) -> AsyncIterator[tuple[Link, Link]]:
    """What another process writes with, and what looks on."""
    links = await connections.to_write(url), await connections.to_read(url)
    await links[0].execute("SET idle_in_transaction_session_timeout = 0")  # a test may be slow
    yield links
    for link in links:
        await link.close()


ENDINGS = {
    "environment": "DELETE FROM environments WHERE id = 'env_1'",
    "agent": "UPDATE agents SET archived_at = 'now' WHERE id = 'agent_1'",
    "vault": "UPDATE vaults SET archived_at = 'now' WHERE id = 'vlt_1'",
}
CHANGES = {
    "environment": "UPDATE environments SET body = body WHERE id = 'env_1'",
    "agent": "UPDATE agents SET created_at = created_at WHERE id = 'agent_1'",
    "vault": "UPDATE vaults SET archived_at = NULL WHERE id = 'vlt_1'",
}
ENDED = {"environment": NotFound, "agent": InvalidRequest, "vault": InvalidRequest}
STANDING = [Footing("environment", "env_1"), Footing("agent", "agent_1"), Footing("vault", "vlt_1")]
NAMED: dict[str, str] = {footing.kind: footing.id for footing in STANDING}


async def lay(trial: Trial) -> None:
    await trial.store.put_environment(environment("env_1"))
    await trial.store.put_agent(agent("agent_1"), if_version=None)
    await trial.store.create_vault(vault("vlt_1"))


async def begin_session(link: Link, name: str) -> None:
    """In a transaction that stays open."""
    job = jobs.Append(jobs.Kind.CREATE, SessionKey(A, name), [], record=record(name), stands_on=STANDING)
    values = jobs.arrays([job]) | {"writer": "other", "batch": 1, "careful": False}
    await link.execute("BEGIN")
    await Transaction(link).all(jobs.statement(values), values)


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("kind", ENDINGS)
async def test_a_session_waits_for_another_processs_end_of_what_it_stands_on(
    trial: Trial, others: tuple[Link, Link], kind: str, committed: bool
) -> None:
    await lay(trial)
    other, look = others
    await other.execute("BEGIN")
    await Transaction(other).all("hold_ending", {"workspace": A, "kind": kind, "id": NAMED[kind]})
    await other.execute(ENDINGS[kind])
    making = asyncio.create_task(trial.store.create_session(record("sesn_1"), [], wake=False, stands_on=STANDING))
    await until_waiting(look)
    await other.execute("COMMIT" if committed else "ROLLBACK")
    if committed:
        with pytest.raises(ENDED[kind]):
            await making
    else:
        await making
    assert (await trial.store.living(["sesn_1"]) == set()) == committed


@pytest.mark.parametrize(
    "ending", ["delete environment", "archive environment", "archive agent", "archive vault", "delete vault"]
)
async def test_an_end_waits_for_another_processs_session_that_stands_on_it(
    trial: Trial, others: tuple[Link, Link], ending: str
) -> None:
    await lay(trial)
    other, look = others
    await begin_session(other, "sesn_1")
    store, ground = trial.store, environment("env_1")
    endings = {
        "delete environment": lambda: store.delete_environment(A, "env_1"),
        "archive environment": lambda: store.put_environment(replace(ground, archived_at="now"), if_body=ground.body),
        "archive agent": lambda: store.archive_agent(A, "agent_1", "now"),
        "archive vault": lambda: store.archive_vault(A, "vlt_1", "now"),
        "delete vault": lambda: store.delete_vault(A, "vlt_1", "now"),
    }
    ended = asyncio.create_task(outcome(endings[ending]()))
    await until_waiting(look)
    await other.execute("COMMIT")
    assert await ended == (Conflict if ending == "delete environment" else None)
    assert await store.living(["sesn_1"]) == {"sesn_1"}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_change_and_a_session_that_stands_on_what_it_changes_wait_for_neither(
    trial: Trial, others: tuple[Link, Link], kind: str
) -> None:
    await lay(trial)
    other, _ = others
    await other.execute(f"BEGIN; {CHANGES[kind]}")
    await trial.store.create_session(record("sesn_1"), [], wake=False, stands_on=STANDING)
    await other.execute("ROLLBACK")
    await begin_session(other, "sesn_2")
    store = trial.store
    changing = {
        "environment": lambda: store.put_environment(environment("env_1"), if_body=environment("env_1").body),
        "agent": lambda: store.put_agent(agent("agent_1", 2), if_version=1),
        "vault": lambda: store.create_credential(credential("vcrd_1", "host:example.com")),
    }
    await changing[kind]()
    await other.execute("COMMIT")
    assert await store.living(["sesn_1", "sesn_2"]) == {"sesn_1", "sesn_2"}


async def test_an_end_that_waits_is_not_overtaken_by_later_sessions(
    trial: Trial, url: str, others: tuple[Link, Link]
) -> None:
    await lay(trial)
    other, look = others
    await begin_session(other, "sesn_1")
    store = trial.store
    ended = asyncio.create_task(store.archive_agent(A, "agent_1", "now"))
    await until_waiting(look)
    async with await PostgresStore.open(url) as third:
        making = asyncio.create_task(
            outcome(third.create_session(record("sesn_2"), [], wake=False, stands_on=STANDING))
        )
        await until_waiting(look, 2)
        await other.execute("COMMIT")
        await ended
        assert await making is InvalidRequest
