"""A session's status: what moves it, and which events say so."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

LEDGER = (
    met(
        "status:start:idle",
        "Without initial events a session begins `idle`.",
        docs("Start a session"),
    ),
    met(
        "status:start:no-events",
        "A new idle session has an empty history and no status event.",
        INFERRED,
    ),
    met(
        "status:idle-to-running",
        "A `user.message` on an idle session makes it run and emits `session.status_running`.",
        docs("Session event stream"),
    ),
    met(
        "status:requires-action:last-answer",
        "The last outstanding answer makes the session run again.",
        docs("Session event stream"),
    ),
    met(
        "status:requires-action:some-answers",
        "With some answers still missing, idle is emitted again with the remaining ids.",
        docs("Session event stream"),
    ),
    met(
        "status:requires-action:interrupt",
        "An interrupt closes pending calls with error results and ends with `end_turn`, without a model call.",
        docs("Multiagent orchestration"),
    ),
    met(
        "status:budget:raised",
        "A raised or removed budget makes a paused session run again.",
        docs("Session budgets"),
    ),
    met(
        "status:running-to-idle",
        "A finished turn is thread idle, usage, session idle with `end_turn`.",
        docs("Session event stream"),
    ),
    met(
        "status:running-to-requires-action",
        "An unanswered question or custom call ends with `requires_action`.",
        docs("Session event stream"),
    ),
    met(
        "status:refusal",
        "A model's refusal ends with `refusal` and its details.",
        SDK,
    ),
    met(
        "status:rescheduling",
        "A transient model failure emits `session.error` (retrying) and `session.status_rescheduled`.",
        SDK,
    ),
    met(
        "status:rescheduling-to-running",
        "When the retry starts `session.status_running` is emitted.",
        docs("Session event stream"),
    ),
    met(
        "status:retries-exhausted",
        "Used up retries end with `session.error` (exhausted) and idle `retries_exhausted`.",
        SDK,
    ),
    met(
        "status:retries-exhausted:queue-dropped",
        "Input that was queued when retries ran out is dropped.",
        SDK,
    ),
    met(
        "status:retries-exhausted:goes-on",
        "After `retries_exhausted` a new message works as usual.",
        SDK,
    ),
    differs(
        "status:terminal",
        "An unrecoverable failure emits `session.error` (terminal) and terminates the session.",
        SDK,
        "no failure is beyond a new message here: all end a turn at most",
    ),
    met(
        "status:finished-is-idle",
        "Finished work is `idle`, never `terminated`.",
        docs("Session operations"),
    ),
    not_yet(
        "status:aggregate",
        "The session runs while any thread runs; otherwise rescheduling wins over idle.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    met(
        "status:stop-reason:priority",
        "At session level `requires_action` beats `budget_reached`, and both beat the primary's reason.",
        docs("Session budgets"),
        "with one thread, the primary's; delegation will show more of it",
    ),
    not_yet(
        "status:stop-reason:union",
        "At session level `event_ids` is the union over all threads.",
        INFERRED,
        "waits for multiagent sessions",
    ),
)
