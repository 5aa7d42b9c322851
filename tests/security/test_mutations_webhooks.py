"""Every listed defence of webhooks has a test that fails without it."""

from __future__ import annotations

import pytest
from mutating import Listed, Runner, listed, must_fail, name_of


@pytest.mark.timeout(120)
@pytest.mark.parametrize("one", listed("mutations_webhooks.toml"), ids=name_of)
def test_without_it_its_test_fails(one: Listed, running: Runner) -> None:
    must_fail(one, running)
