"""One entry of the ledger: what the API owes, in a sentence, who says so, and how this server stands to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["met", "differs", "not_yet"]

SDK = "sdk"
INFERRED = "inferred"
OBSERVED = "observed"


def docs(title: str) -> str:
    """The source is the public documentation's page of that title."""
    return f"docs: {title}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """`id` reads `<area>:<feature>[:<variant>]`. `note` says why for `differs`, and what it waits for if `not_yet`."""

    id: str
    sentence: str
    source: str
    status: Status
    note: str = ""


def met(id: str, sentence: str, source: str, note: str = "") -> Requirement:
    """A test shows it: at least one names this id."""
    return Requirement(id, sentence, source, "met", note)


def differs(id: str, sentence: str, source: str, note: str) -> Requirement:
    """This server does something else on purpose; `note` says what, and why."""
    return Requirement(id, sentence, source, "differs", note)


def not_yet(id: str, sentence: str, source: str, note: str = "") -> Requirement:
    """Not shown by a test yet; a test that names it must turn it into `met`."""
    return Requirement(id, sentence, source, "not_yet", note)
