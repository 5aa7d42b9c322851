"""Renders the Compatibility page from the ledger. What it says is what the tests show, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from conformance.manifest_page import chapters
from conformance.requirements import ALL, CHAPTERS
from conformance.requirements.entry import Requirement

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
WORDS = {"met": "met", "differs": "differs", "not_yet": "not yet"}
OPENING = """\
# Compatibility

Outrider speaks the Managed Agents API as the official Python SDK 2.12.0 uses it. This page is the full list of what
that API owes its clients, as far as public sources tell, and how this server stands to each point. It is generated
from the ledger in `tests/conformance/requirements/` by `scripts/compatibility`; don't edit it.

- **met**: at least one test names the point and passes.
- **differs**: this server does something else on purpose; the note says what and why.
- **not yet**: no test shows it. It may be missing, or only unproven; a note says what it waits for.

The source tells how sure the point is: `sdk` was read in, or seen by running, the official SDK; `docs` is the public
documentation's page of that title; `observed` was seen in public reports; `inferred` is our own conclusion where
nothing is published.
"""


def render() -> str:
    parts = [OPENING, _totals(), *(_chapter(title, entries) for title, entries in CHAPTERS.items())]
    parts += chapters()
    return "\n".join(parts)


def _totals() -> str:
    rows = [f"| {title} | {_counts(entries)} |" for title, entries in CHAPTERS.items()]
    head = ["| Chapter | met | differs | not yet |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, f"| **All** | {_counts(tuple(ALL.values()))} |", ""])


def _counts(entries: tuple[Requirement, ...]) -> str:
    count = Counter(entry.status for entry in entries)
    return " | ".join(str(count[status]) for status in WORDS)


def _chapter(title: str, entries: tuple[Requirement, ...]) -> str:
    head = [f"## {title}", "", "| Point | Status | Source |", "|---|---|---|"]
    return "\n".join([*head, *(_row(entry) for entry in entries), ""])


def _row(entry: Requirement) -> str:
    note = f" *{entry.note[0].upper()}{entry.note[1:]}.*" if entry.note else ""
    text = f"{entry.sentence}{note}".replace("|", "\\|")
    return f"| {text} <br>`{entry.id}` | {WORDS[entry.status]} | {entry.source} |"
