"""The page of figures says which targets are met, and of those that are not, what limits them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from bench import page

RESULTS = Path(page.__file__).parent / "results" / "latest.json"


def figures() -> dict[str, Any]:
    return copy.deepcopy(json.loads(RESULTS.read_text())["figures"])


def test_the_page_is_what_its_results_make_and_names_each_miss_with_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = page.PAGE.read_text()
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    page.write_page(RESULTS)
    assert (tmp_path / "performance.md").read_text() == committed
    missed = page.missed(figures())
    assert committed.count("**missed**") == len(missed)
    assert set(missed) <= set(page.LIMITS), "say in bench/misses.py what limits them"
    assert all(f"- {what}: {page.LIMITS[what]}" in committed for what in missed)


def test_a_target_that_is_not_reached_is_a_miss() -> None:
    found = figures()
    before = set(page.missed(found))
    found["latency"]["session create"]["p95_ms"] = 3.5
    found["readers"]["1,000 live readers"]["lost"] = 1
    found["latency"]["session create, 16 clients"]["per_second"] = 999
    more = {"session create", "1,000 live stream readers", "session create, 16 clients"}
    assert set(page.missed(found)) == before | more
