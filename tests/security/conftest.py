"""What tests that take defences away share: a copy of the code, and a process that runs tests on it."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from mutating import Runner, runner


@pytest.fixture(scope="module")
def running() -> Generator[Runner]:
    with runner() as found:
        yield found
