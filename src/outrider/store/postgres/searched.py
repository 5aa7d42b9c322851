"""Reads every table as text and says which of them hold one of some byte strings. For `outrider audit` alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from outrider.store.postgres import connections

LARGEST_TABLE = 1 << 30
TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, pg_table_size(c.oid) AS size
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = ANY (current_schemas(false)) ORDER BY 1
"""


async def tables_holding(url: str, wanted: Collection[bytes]) -> tuple[int, list[str], list[str]]:
    """How many tables were read, which of them hold one of `wanted`, and which are too large to be read here. Raises
    UnfitDatabase and Overloaded."""
    link: Any = await connections.to_read(url)
    read, holding, left = 0, list[str](), list[str]()
    try:
        for name, size in await link.fetch(TABLES):
            if size > LARGEST_TABLE:
                left.append(f"table {name}: {size >> 20} MB")
                continue
            found: set[bytes] = set()
            await link.copy_from_query(f"SELECT * FROM {name}", output=_searching(wanted, found), timeout=600)
            read += 1
            if found:
                holding.append(f"table {name}")
    finally:
        await link.close()
    return read, holding, left


def _searching(wanted: Collection[bytes], found: set[bytes]) -> Callable[[bytes], Any]:
    """Rows as COPY writes them: binary columns are hexadecimal, which is one of a secret's disguises."""
    overlap = max(len(one) for one in wanted)
    kept = b""

    async def take(data: bytes) -> None:
        nonlocal kept
        seen = kept + bytes(data)
        found.update(one for one in wanted if one in seen)
        kept = seen[-overlap:]

    return take
