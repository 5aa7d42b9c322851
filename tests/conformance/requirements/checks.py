"""The twenty end-to-end checks that a server has to pass with the unmodified SDK."""

from __future__ import annotations

from conformance.requirements.entry import OBSERVED, docs, met, not_yet

LEDGER = (
    met(
        "check:1",
        "A stream opened before a send sees a whole turn in order.",
        docs("Session event stream"),
    ),
    met(
        "check:2",
        "A stream opened after idle gets nothing until the next turn.",
        docs("Session event stream"),
    ),
    met(
        "check:3",
        "The reconnect recipe under load loses and repeats nothing, by id.",
        docs("Session event stream"),
    ),
    met(
        "check:4",
        "A custom tool answered before idle emits no `requires_action`.",
        docs("Session event stream"),
    ),
    met(
        "check:5",
        "Of two pending calls one answered leaves idle with one id; the second answer makes it run.",
        docs("Session event stream"),
    ),
    met(
        "check:6",
        "An asked call denied with a message is an error result, and the turn ends with `end_turn`.",
        docs("Permission policies"),
    ),
    met(
        "check:7",
        "Confirming an allowed call is 400, an unknown id 400, a repeat 200.",
        docs("Permission policies"),
    ),
    met(
        "check:8",
        "A message while waiting is 400; with an interrupt in front it is accepted.",
        OBSERVED,
    ),
    met(
        "check:9",
        "An interrupt during output leaves a request end and `end_turn`, and the next message works.",
        docs("Session event stream"),
    ),
    met(
        "check:10",
        "A bad initial event is 400 and no session; good ones run at once.",
        docs("Start a session"),
    ),
    met(
        "check:11",
        "Overrides: a null model is 400, a null system is cleared, the base version is echoed.",
        docs("Start a session"),
    ),
    met(
        "check:12",
        "An update without change keeps the version; a stale one is 409 with `x-should-retry: false`.",
        docs("Define your agent"),
    ),
    met(
        "check:13",
        "The sessions list goes backwards and forwards; a cursor with another order is 400.",
        docs("Session operations"),
    ),
    met(
        "check:14",
        "Archive and delete are 400 while running and 200 after idle; then a send is 400.",
        docs("Session operations"),
    ),
    met(
        "check:15",
        "A budget pauses in order, accepts four kinds of event, resumes when raised, and removal is one-way.",
        docs("Session budgets"),
    ),
    met(
        "check:16",
        "Preview deltas are a prefix, absent for late connections and from the history.",
        docs("Session event stream"),
    ),
    not_yet(
        "check:17",
        "An outcome is revised, then satisfied; interrupted before it began, its start id is empty.",
        docs("Define outcomes"),
        "waits for outcomes",
    ),
    not_yet(
        "check:18",
        "A child's question is copied to the primary stream and can be answered there.",
        docs("Session threads"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "check:19",
        "A running thread can't be archived; a waiting one can and is terminated.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    met(
        "check:20",
        "Without the beta header 404; without a key 401 with envelope and `request-id`.",
        docs("Session event stream"),
    ),
)
