"""How a tool call that needs the client goes on: custom tools, confirmations, workers."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # Custom tools
    met(
        "flows:custom:use",
        "A model's call of a custom tool is `agent.custom_tool_use`.",
        SDK,
    ),
    met(
        "flows:custom:requires-action",
        "When nothing else can run, idle lists all unanswered uses.",
        docs("Session event stream"),
    ),
    met(
        "flows:custom:any-order",
        "Results come in any order, one or several a request.",
        docs("Session event stream"),
    ),
    met(
        "flows:custom:partial",
        "Each accepted answer emits idle again with the rest; the last makes the session run.",
        docs("Session event stream"),
    ),
    met(
        "flows:custom:before-idle",
        "If all answers come before idle would, no idle is emitted.",
        docs("Session event stream"),
    ),
    met(
        "flows:custom:no-timeout",
        "There is no time limit for an answer.",
        docs("Permission policies"),
    ),
    met(
        "flows:custom:reaches-model",
        "The result reaches the model as the call's tool result.",
        SDK,
    ),
    # Confirmation
    met(
        "flows:confirm:allow",
        "After `allow` the tool runs and its result follows.",
        docs("Permission policies"),
    ),
    met(
        "flows:confirm:deny",
        "After `deny` an error result says that the user refused, with the message.",
        docs("Permission policies"),
    ),
    met(
        "flows:confirm:one-id",
        "The id of the use, of `event_ids` and of the confirmation is one `sevt_…` value.",
        SDK,
    ),
    met(
        "flows:confirm:other-client",
        "A confirmation by another client is echoed to all.",
        SDK,
    ),
    met(
        "flows:confirm:once",
        "However often a call is confirmed, it runs once.",
        INFERRED,
    ),
    # Workers
    met(
        "flows:worker:pending",
        "On a self-hosted environment built-in calls wait for a worker's result.",
        docs("Self-hosted sandboxes"),
    ),
    met(
        "flows:worker:ask",
        "An asked call of a worker needs a confirmation first.",
        SDK,
    ),
    met(
        "flows:worker:denied",
        "A call denied by the server is never the worker's.",
        SDK,
    ),
    met(
        "flows:worker:two-clients",
        "Two clients may each answer their part.",
        SDK,
    ),
    met(
        "flows:worker:record",
        "The worker's result is the record; no second result event follows.",
        INFERRED,
    ),
    not_yet(
        "flows:terminated-thread",
        "Open calls of a terminated thread can't be answered.",
        SDK,
        "waits for multiagent sessions",
    ),
)
