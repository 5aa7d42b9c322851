"""How a database file comes to its schema, and how query files are read."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from outrider.errors import Internal
from outrider.store import queries
from outrider.store.scripts import Script, shipped
from outrider.store.sqlite import SqliteStore, connections
from outrider.store.sqlite.migrations import PACKAGE, migrate, statements
from outrider.store.sqlite.transaction import QUERIES

NEWEST = len(shipped(PACKAGE))
GROWS: list[Script] = [
    *shipped(PACKAGE),
    (NEWEST + 1, "note.sql", "CREATE TABLE notes (text TEXT);\nCREATE TABLE copies (text TEXT);\n"),
    (
        NEWEST + 2,
        "copy.sql",
        "CREATE TRIGGER copy AFTER INSERT ON notes\nBEGIN\n  INSERT INTO copies VALUES (NEW.text);\nEND;\n",
    ),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connections.create(tmp_path / "log.db")
    return tmp_path / "log.db"


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connections.writer(path)) as connection:
        yield connection


def versions(db: sqlite3.Connection) -> list[int]:
    return [row[0] for row in db.execute("SELECT version FROM schema_version ORDER BY version")]


def schema(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_the_shipped_scripts_are_numbered_without_a_gap() -> None:
    assert [number for number, _, _ in shipped(PACKAGE)] == list(range(1, len(shipped(PACKAGE)) + 1))


def test_an_empty_file_gets_every_script_once(db: sqlite3.Connection) -> None:
    assert migrate(db) == len(shipped(PACKAGE))
    assert versions(db) == list(range(1, len(shipped(PACKAGE)) + 1))


def test_migrating_again_changes_nothing(db: sqlite3.Connection) -> None:
    migrate(db)
    before = schema(db)
    migrate(db)
    assert schema(db) == before


def test_an_older_file_gets_only_what_is_missing(db: sqlite3.Connection) -> None:
    migrate(db, GROWS[:1])
    db.execute("INSERT INTO workspaces (id, is_default) VALUES ('wrkspc_1', 1)")
    assert migrate(db, GROWS) == NEWEST + 2
    assert versions(db) == list(range(1, NEWEST + 3))
    db.execute("INSERT INTO notes VALUES ('n')")
    assert db.execute("SELECT text FROM copies").fetchall() == [("n",)]
    assert db.execute("SELECT id FROM workspaces").fetchall() == [("wrkspc_1",)]


def test_answers_that_would_outlive_what_they_are_about_go_with_their_script(db: sqlite3.Connection) -> None:
    end = next(number for number, name, _ in shipped(PACKAGE) if "answers_about_nothing" in name)
    migrate(db, shipped(PACKAGE)[: end - 1])
    bodies = {"sesn_1/x": b"{}", "a": b'{"id":"sesn_1"}', "b": b'{"id":"agent_1"}', "c": b'{"id":"mem_1"}', "d": b"{}"}
    for name, body in bodies.items():
        db.execute("INSERT INTO answers VALUES ('w', ?, 'now', 200, ?, 0)", (name, body))
    db.execute("INSERT INTO answers_about VALUES ('w', 'vlt_1', 'd', 'now')")
    migrate(db)
    left = [name for (name,) in db.execute("SELECT idempotency FROM answers ORDER BY idempotency")]
    assert left == ["a", "b", "d", "sesn_1/x"]


def test_a_script_that_fails_leaves_nothing_of_itself(db: sqlite3.Connection) -> None:
    broken = (NEWEST + 1, "broken.sql", "CREATE TABLE half (text TEXT);\nCREATE TABLE heads (again TEXT);\n")
    with pytest.raises(sqlite3.OperationalError, match="heads"):
        migrate(db, [*shipped(PACKAGE), broken])
    assert versions(db) == list(range(1, NEWEST + 1))
    assert "half" not in dict(schema(db))
    assert migrate(db, GROWS) == NEWEST + 2


@pytest.mark.anyio
async def test_a_newer_file_is_refused_with_both_versions_named_and_left_alone(path: Path) -> None:
    with closing(connections.writer(path)) as db:
        migrate(db, GROWS)
        before = schema(db)
    with pytest.raises(Internal, match=rf"schema version {NEWEST + 2}.*knows {NEWEST}"):
        await SqliteStore.open(path)
    with closing(connections.writer(path)) as db:
        assert schema(db) == before


def test_servers_that_start_together_migrate_once(path: Path) -> None:
    start, problems = threading.Barrier(4, timeout=10), list[BaseException]()

    def begin(own: sqlite3.Connection) -> None:
        with closing(own):
            start.wait()
            try:
                migrate(own, GROWS)
            except sqlite3.Error as error:
                problems.append(error)

    opened = [connections.writer(path) for _ in range(4)]  # one by one: the switch to WAL can't be shared
    threads = [threading.Thread(target=begin, args=(own,)) for own in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert problems == []
    with closing(connections.writer(path)) as db:
        assert versions(db) == list(range(1, NEWEST + 3))


def test_statements_end_where_sqlite_says_so() -> None:
    trigger = "CREATE TRIGGER g AFTER INSERT ON t\nBEGIN\n  DELETE FROM t;\nEND;\n"
    text = f"-- a; b\nCREATE TABLE t (x);\n\n{trigger}-- the end\n"
    assert [statement.strip().splitlines()[-1] for statement in statements(text)] == ["CREATE TABLE t (x);", "END;"]


def test_scripts_that_share_a_number_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "twins" / "sql" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "twins" / "__init__.py").touch()
    for name in ("0001_start.sql", "0002_lists.sql", "0002_work.sql"):
        (folder / name).touch()
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    with pytest.raises(ValueError, match=r"without gaps: 0001_start.sql, 0002_lists.sql, 0002_work.sql"):
        shipped("twins")
    (folder / "0002_work.sql").rename(folder / "0003_work.sql")
    assert [number for number, _, _ in shipped("twins")] == [1, 2, 3]


def test_every_query_names_the_workspace_or_a_log_or_says_why_not() -> None:
    """A query about one workspace's things must not be able to reach another's."""
    of_the_server = {
        "wake", "waiting_workspaces", "beat", "beats", "fence_off", "let_wait", "mark_buried", "owned", "unattended",
        "heads", "runnable", "resting", "living", "has_sessions", "places", "key_by_digest", "first_key",
        "forget_answers", "default_workspace", "insert_default_workspace", "insert_event", "secret_refs", "changes",
        "place", "placement", "placements", "unplace", "workspaces", "insert_workspace", "insert_key", "put_first_key",
        "drop_replaced_key", "access_revision", "raise_access_revision", "abandoned_files", "expired_files",
        "abandon_announced", "untold", "webhooks_due", "forget_deliveries", "forget_changes", "last_change", "courier",
        "first_courier", "appoint", "beat_courier", "resign_courier", "orphaned_attachments", "forget_attachments",
        "deployments_due", "pending_runs", "unsettled_dreams", "all_held_work", "hold_answer", "hold_ending",
        "forget_answers_about", "doomed_workspaces", "tables_of_workspaces", "forget_workspaces",
    }  # fmt: skip
    loose = {name for name, text in QUERIES.items() if ":workspace" not in text and ":log" not in text}
    assert loose <= of_the_server


def test_a_query_without_a_purpose_is_refused() -> None:
    with pytest.raises(ValueError, match="two does not say"):
        queries.parse("-- name: one\n-- Counts.\nSELECT 1;\n\n-- name: two\nSELECT 2;\n")


def test_a_page_that_is_written_once_is_read_from_both_ends() -> None:
    newest = "-- A page.\nSELECT id FROM t WHERE (at, id) < (:after_time, :after_id) ORDER BY at DESC, id DESC LIMIT 1"
    oldest = "-- A page.\nSELECT id FROM t WHERE (at, id) > (:after_time, :after_id) ORDER BY at, id LIMIT 1"
    found = queries.parse(f"-- name: t_both_ways\n{newest}\n")
    assert found == [("t_newest_first", newest), ("t_oldest_first", oldest)]
