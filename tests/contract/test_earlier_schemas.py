"""A database of every earlier schema, with a row in each of its tables, comes to this one with all rows and goes on."""

from __future__ import annotations

import os
import random
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from earlier_rows import Column, digest, goes_on, values

from outrider.store.postgres import PostgresStore
from outrider.store.postgres import connections as postgres_connections
from outrider.store.postgres import migrations as postgres_migrations
from outrider.store.postgres.transaction import Link
from outrider.store.scripts import shipped
from outrider.store.sqlite import SqliteStore, connections, migrations
from outrider.testing.postgres_server import PostgresServer

SEED = int(os.environ["OUTRIDER_TEST_SEED"])
SQLITE, POSTGRES = shipped(migrations.PACKAGE), shipped(postgres_migrations.PACKAGE)
TODAY = sorted(random.Random(SEED).sample(range(1, len(POSTGRES)), 3))
"""Of PostgreSQL's; all of SQLite's cost less than these."""
TABLES = """
SELECT table_name, column_name, data_type, is_nullable = 'NO' AND column_default IS NULL AS required
FROM information_schema.columns JOIN pg_class ON oid = to_regclass(table_name)
WHERE table_schema = 'public' AND NOT relispartition AND is_identity = 'NO' AND table_name <> 'schema_version'
ORDER BY ordinal_position
"""
TAKES = re.compile(
    r"\b(?:DROP|RENAME|TRUNCATE|DELETE FROM|ALTER COLUMN|ADD CONSTRAINT"
    r"|ADD COLUMN(?=[^,;]*NOT NULL)(?![^,;]*DEFAULT))\b.*"
)
"""What the release before, which may still run, could stumble over, or what takes rows away."""
TAKEN = {
    ("0019_sessions_anywhere.sql", "DROP INDEX sessions_by_id;"),
    ("0027_answers_about_nothing.sql", "DELETE FROM answers"),
    ("0021_sessions_anywhere.sql", "DROP INDEX sessions_by_id;"),
    ("0023_told_together.sql", "DROP TRIGGER events_told ON events;"),
    ("0023_told_together.sql", "DROP FUNCTION tell_of_event();"),
    ("0030_answers_about_nothing.sql", "DELETE FROM answers"),
    ("0032_fewer_partitions.sql", "DROP TABLE events;"),
}
"""An index that another takes the place of, answers that are asked for again, and a table that is empty."""
Rows = dict[str, dict[str, Any]]
Tables = dict[str, list[Column]]


def comparable(row: Any, columns: Any) -> dict[str, Any]:
    return {name: digest(row[name]) for name in columns}


def test_a_script_takes_nothing_away_but_what_is_named_here() -> None:
    found: set[tuple[str, str]] = set()
    for _, name, text in (*SQLITE, *POSTGRES):
        plain = re.sub(r"AS \$\$.*?\$\$|--.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
        found |= {(name, taken) for taken in TAKES.findall(plain)}
    assert found == TAKEN


@pytest.mark.anyio
@pytest.mark.parametrize("version", range(1, len(SQLITE)))
async def test_a_file_of_every_earlier_schema_comes_along_with_its_rows(tmp_path: Path, version: int) -> None:
    path = tmp_path / "log.db"
    connections.create(path)
    with closing(connections.writer(path)) as db:
        migrations.migrate(db, SQLITE[:version])
        before: Rows = {}
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table in ("schema_version", "sqlite_sequence"):
                continue
            info = db.execute(f"SELECT name, type, \"notnull\" OR pk, dflt_value FROM pragma_table_info('{table}')")
            row = values(table, [Column(name, kind, bool(must) and given is None) for name, kind, must, given in info])
            before[table] = row
            marks = ", ".join("?" for _ in row)
            db.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    async with await SqliteStore.open(path) as store:
        with closing(connections.reader(path)) as db:
            for table, row in before.items():
                (found,) = db.execute(f"SELECT {', '.join(row)} FROM {table}").fetchall()
                assert comparable(dict(zip(row, found, strict=True)), row) == comparable(row, row), table
        await goes_on(store)


@pytest.mark.anyio
@pytest.mark.parametrize("version", TODAY)
async def test_a_database_of_earlier_schemas_comes_along_with_its_rows(postgres: PostgresServer, version: int) -> None:
    url = postgres.url(postgres.database())
    link = await postgres_connections.to_write(url)
    try:
        await postgres_migrations.migrate(link, POSTGRES[:version])
        before = {table: values(table, columns) for table, columns in (await tables_of(link)).items()}
        for table, row in before.items():
            marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
            await link.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())
        async with await PostgresStore.open(url) as store:
            for table, row in before.items():
                found = await link.fetch(f"SELECT {', '.join(row)} FROM {table}")  # the store's own, too
                assert comparable(row, row) in [comparable(one, row) for one in found], table
            await goes_on(store)
    finally:
        await link.close()


async def tables_of(link: Link) -> Tables:
    found: Tables = {}
    for table, name, kind, required in await link.fetch(TABLES):
        found.setdefault(table, []).append(Column(name, kind, required))
    return found
