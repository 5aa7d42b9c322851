"""Loads `.sql` files of named queries. Owns their format: `-- name: x`, a line of purpose, then one statement.

A page of a list is written once, newest first, under a name that ends in `_both_ways`; it is found under two names, as
`x_newest_first` and, turned around, as `x_oldest_first`.
"""

from __future__ import annotations

import re
from importlib.resources import files

SHARED = (
    "sql/catalog.sql",
    "sql/vaults.sql",
    "sql/files.sql",
    "sql/memory.sql",
    "sql/skills.sql",
    "sql/deployments.sql",
    "sql/dreams.sql",
    "sql/placements.sql",
    "sql/access.sql",
    "sql/webhooks.sql",
    "sql/work.sql",
    "sql/answers.sql",
)
"""What every database understands; a type that one can't tell by itself stands in a CAST."""
BOTH_WAYS, NEWEST, OLDEST = "_both_ways", "_newest_first", "_oldest_first"
_HEADING = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(package: str, *names: str) -> dict[str, str]:
    """All queries of these files by name. Raises ValueError for a query without a purpose or with a doubled name."""
    found: dict[str, str] = {}
    for file in names:
        for name, text in parse(files(package).joinpath(file).read_text("utf-8")):
            if name in found:
                raise ValueError(f"{file}: query {name} is defined twice")
            found[name] = text
    return found


def with_shared(package: str, *names: str) -> dict[str, str]:
    """The queries of a database's own files, and the shared ones. Raises ValueError as `load` does."""
    own, shared = load(package, *names), load(__package__ or __name__, *SHARED)
    if both := own.keys() & shared.keys():
        raise ValueError(f"{package}: query {min(both)} is defined twice")
    return own | shared


def parse(text: str) -> list[tuple[str, str]]:
    """(name, statement) in order; the purpose stays in the statement, so that it shows in a database's own logs."""
    pieces = _HEADING.split(text)[1:]
    written = [(name, body.strip()) for name, body in zip(pieces[::2], pieces[1::2], strict=True)]
    queries = [query for name, body in written for query in _ways(name, body)]
    for name, body in queries:
        if not body.startswith("-- "):
            raise ValueError(f"query {name} does not say what it is for")
    return queries


def _ways(name: str, newest: str) -> list[tuple[str, str]]:
    if not name.endswith(BOTH_WAYS):
        return [(name, newest)]
    stem = name.removesuffix(BOTH_WAYS)
    oldest = newest.replace("< (:after_time, :after_id)", "> (:after_time, :after_id)").replace(" DESC", "")
    return [(stem + NEWEST, newest), (stem + OLDEST, oldest)]
