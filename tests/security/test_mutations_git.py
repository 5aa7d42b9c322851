"""Every defence listed for the tokens of repositories has a test that fails without it; see `mutating`."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from mutating import FAILED, Listed, Runner, listed, name_of, runner


@pytest.fixture(scope="module")
def running() -> Generator[Runner]:
    with runner() as found:
        yield found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("one", listed("mutations_git.toml"), ids=name_of)
def test_without_it_its_test_fails(one: Listed, running: Runner) -> None:
    if one.get("root") and os.geteuid() != 0:
        pytest.skip("its test needs root")
    code, said = running.without(one)
    assert code == FAILED, said
    assert "\nERROR " not in said, f"the test did not come as far as to fail\n{said}"
