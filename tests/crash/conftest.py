"""What the tests that kill share."""

from __future__ import annotations

import pytest
from kill_stores import Database, store_of


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest) -> Database:
    """A new one, on the store that this file has today (OUTRIDER_TEST_SEED chooses another)."""
    if store_of(request.path.name) == "sqlite":
        return Database()
    postgres = request.getfixturevalue("postgres")
    return Database(postgres.url(postgres.database(), tcp=True))
