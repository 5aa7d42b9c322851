"""What every test shares: async tests run on asyncio, the loop that the server runs on."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Elsewhere property tests look for new examples; a build must not fail by the luck of one.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
