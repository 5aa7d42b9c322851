"""Keeps the ledger and the tests in step, in both directions, and the Compatibility page in step with the ledger."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from conformance.compatibility_page import PAGE, render
from conformance.requirements import ALL, CHAPTERS, requirement
from conformance.witnesses import named, witnesses

FORM = re.compile(r"[a-z]+(:[A-Za-z0-9_.-]+)+")


def test_every_met_requirement_is_named_by_a_test() -> None:
    found = witnesses()
    bare = [entry.id for entry in ALL.values() if entry.status == "met" and entry.id not in found]
    assert not bare, f"met, but no test names them: {bare}"


def test_every_id_that_a_test_names_is_in_the_ledger() -> None:
    unknown = {id: places for id, places in witnesses().items() if id not in ALL}
    assert not unknown, f"named by tests, but not in the ledger: {unknown}"


def test_no_test_names_a_requirement_that_is_not_met_yet() -> None:
    early = {id: places for id, places in witnesses().items() if id in ALL and ALL[id].status == "not_yet"}
    assert not early, f"witnessed, so change `not_yet` to `met` in the ledger: {early}"


def test_ids_are_unique_and_well_formed() -> None:
    count = Counter(entry.id for chapter in CHAPTERS.values() for entry in chapter)
    assert not [id for id, times in count.items() if times > 1]
    assert not [id for id in count if not FORM.fullmatch(id)]


def test_every_entry_is_one_plain_sentence_with_a_known_source() -> None:
    for entry in ALL.values():
        assert entry.sentence.endswith("."), entry.id
        assert not entry.note.endswith("."), entry.id  # the page puts one
        assert entry.source in ("sdk", "inferred", "observed") or entry.source.startswith("docs: "), entry.id


def test_every_difference_says_why() -> None:
    assert not [entry.id for entry in ALL.values() if entry.status == "differs" and not entry.note]


def test_the_twenty_end_to_end_checks_are_all_there() -> None:
    assert [f"check:{number}" for number in range(1, 21)] == [id for id in ALL if id.startswith("check:")]


def test_the_committed_compatibility_page_is_current() -> None:
    assert PAGE.read_text() == render(), "run scripts/compatibility and commit docs/compatibility.md"


def test_the_marker_refuses_an_unknown_id() -> None:
    with pytest.raises(LookupError, match="no:such"):
        requirement("no:such")


def scan(text: str) -> list[str]:
    return [id for id, _ in named(ast.parse(text), "here")]


def test_the_scan_sees_decorators_parameters_and_module_marks() -> None:
    assert scan("@requirement('a:b', 'c:d')\nasync def test_it(): ...") == ["a:b", "c:d"]
    assert scan("@mark.parametrize('x', [param(1, marks=requirement('a:b'))])\ndef test_it(x): ...") == ["a:b"]
    assert scan("pytestmark = [pytest.mark.requirement('e:f')]") == ["e:f"]


def test_the_scan_counts_no_test_that_never_runs() -> None:
    assert scan("@pytest.mark.skip\n@requirement('a:b')\ndef test_it(): ...") == []
    assert scan("@requirement('a:b')\ndef not_a_test(): ...") == []


def test_the_scan_refuses_ids_that_are_not_literal() -> None:
    with pytest.raises(ValueError, match="here:1"):
        scan("@requirement(name)\ndef test_it(): ...")
