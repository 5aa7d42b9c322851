"""What every test shares: async tests run on asyncio, the loop that the server runs on."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from functools import cache
from inspect import signature
from pathlib import Path
from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2
import pytest
from hypothesis import HealthCheck, settings
from sdk_clients import close_clients
from surface import TOUCHED

from conformance.recording import is_asked, keep
from conformance.witnessed import Traffic, duties
from outrider.testing.postgres_server import NoServer, PostgresServer, binaries, postgres_server

# Elsewhere property tests look for new examples; a build, or a whole run in processes side by side, must not fail by
# the luck of one. How busy the machine is says nothing about the code.
BUSY: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("here", **BUSY)
settings.register_profile("build", derandomize=True, **BUSY)
settings.load_profile("build" if os.environ.get("CI") or os.environ.get("PYTEST_XDIST_WORKER") else "here")

# The same holds for the five seconds that a request by the plain client may take, unless a test says otherwise.
patience: Any = signature(httpx2.get).parameters["timeout"].default
patience.connect = patience.read = patience.write = patience.pool = 40.0

# What a build tries of what is too much for one: another part each day, and the same in all processes of a run.
os.environ.setdefault("OUTRIDER_TEST_SEED", str(datetime.now(UTC).toordinal()))

gc.disable()  # until all tests are imported: what an import makes stays

read_certificates = httpcore2.default_ssl_context


@cache
def certificates(_file: str | None, trust_env: bool) -> SSLContext:
    """Each client would read the system's anew, which takes 20 ms, and some thousand are made."""
    return read_certificates(_trust_env=trust_env)


def shared_certificates(*, _trust_env: bool = True) -> SSLContext:
    return certificates(os.environ.get("SSL_CERT_FILE"), _trust_env)


httpcore2.default_ssl_context = shared_certificates

SHORT = ("conformance", "unit")
"""Rooms of the tests that take little time each."""

TESTS = Path(__file__).parent
traffic: Traffic = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=("sqlite", "postgres"),
        default="sqlite",
        help="what the servers of conformance tests keep their sessions in",
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def clients_are_closed_at_the_end() -> Generator[None]:
    yield
    close_clients()


@pytest.fixture(scope="module", autouse=True)
def what_a_module_leaves_is_found_there() -> Generator[None]:
    """Sockets and the like that nobody closed fail the module that left them, not a later one."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """One server for all tests that need no durability; each takes a database or empties the one before."""
    try:
        binaries()
    except NoServer as missing:
        pytest.skip(str(missing))
    with postgres_server(durable=False) as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Note what a test that passes touches of the SDK's surface. A witness of something must touch it each time."""
    TOUCHED.clear()
    result = yield
    test = pyfuncitem.nodeid
    traffic[test] = {"calls": sorted(TOUCHED.calls), "sent": sorted(TOUCHED.sent), "told": sorted(TOUCHED.told)}
    left = set[str]() if is_asked() else duties().get(test, frozenset()) - TOUCHED.calls - TOUCHED.sent
    assert not left, f"no longer the witness of {sorted(left)}: run scripts/compatibility --witness {test}"
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A witness that is not among its file's tests any more, by its whole name, is none."""
    if any("::" in argument for argument in config.args):
        return
    if os.environ.get("PYTEST_XDIST_WORKER"):
        _long_files_first(items)
    there = {item.nodeid for item in items}
    files = {name.partition("::")[0] for name in there}
    gone = sorted(test for test in duties() if test.partition("::")[0] in files and test not in there)
    if gone and not is_asked():
        raise pytest.UsageError(f"no such witnesses: {gone}: run scripts/compatibility --witness")


def _long_files_first(items: list[pytest.Item]) -> None:
    """So that processes side by side, which take file by file in this order, end together."""
    tests = Counter(item.path for item in items)

    def rank(item: pytest.Item) -> tuple[int, int, str]:
        room = item.path.relative_to(TESTS).parts[0]
        return SHORT.index(room) + 1 if room in SHORT else 0, -tests[item.path], str(item.path)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Collections after each module need not look through what was imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    keep(traffic)
