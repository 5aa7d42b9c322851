"""Outcomes: a goal with a rubric, evaluated and revised."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    not_yet(
        "outcomes:loop",
        "A defined outcome is worked on, graded, and revised until it is satisfied.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:results",
        "An evaluation ends satisfied, needs revision, at the limit, failed or interrupted.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:one-at-a-time",
        "A second outcome before the first has ended is refused.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:steer",
        "Messages may steer while an outcome is worked on.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:running",
        "The session runs from definition to result, without idle between cycles.",
        INFERRED,
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:iterations",
        "Iterations count from 0, by default three of them.",
        INFERRED,
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:grader",
        "The grader's tokens count in the session's usage.",
        INFERRED,
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:interrupt",
        "An interrupt ends the evaluation, then the turn.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "outcomes:on-session",
        "The session lists its evaluations.",
        SDK,
        "waits for outcomes",
    ),
    met(
        "outcomes:deliverables",
        "Files under the outputs folder become files of the session.",
        docs("Define outcomes"),
    ),
)
