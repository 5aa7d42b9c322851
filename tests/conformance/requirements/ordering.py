"""Order within a turn, queueing, and interrupts."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # processed_at
    met(
        "ordering:processed-at:queued",
        "A waiting client event has a null `processed_at`; output always has a time.",
        docs("Session event stream"),
    ),
    met(
        "ordering:processed-at:on-receipt",
        "Custom results, tool results and outcomes are processed on receipt.",
        docs("Session event stream"),
        "outcomes come with their feature",
    ),
    met(
        "ordering:processed-at:twice-on-stream",
        "A queued event shows twice on a live stream under one id: first null, then with a time.",
        docs("claude-api skill"),
    ),
    met(
        "ordering:processed-at:once-in-history",
        "In the history a queued event shows once.",
        INFERRED,
    ),
    met(
        "ordering:history:nulls-last",
        "Waiting events come last in the history, by arrival.",
        INFERRED,
    ),
    met(
        "ordering:history:as-stream",
        "The history's order of events is the stream's.",
        INFERRED,
    ),
    # A turn
    met(
        "ordering:turn",
        "Running, thread running, model start, message, model end, thread idle, usage, session idle.",
        SDK,
    ),
    met(
        "ordering:turn:running-once",
        "`session.status_running` comes once a turn, not once a model request.",
        docs("Session event stream"),
    ),
    met(
        "ordering:turn:first-thread-status",
        "The first thread status event of a log is the primary thread's.",
        SDK,
    ),
    met(
        "ordering:turn:usage-before-idle",
        "Usage stands immediately before session idle, whatever the reason.",
        docs("Session budgets"),
    ),
    met(
        "ordering:turn:spans-enclose",
        "A response's message stands between its request's start and end.",
        docs("Session event stream"),
    ),
    met(
        "ordering:tools:uses-in-order",
        "Several uses of one response are emitted in the model's order.",
        INFERRED,
    ),
    met(
        "ordering:tools:results-as-finished",
        "Results are emitted as calls finish.",
        INFERRED,
    ),
    met(
        "ordering:tools:next-request-waits",
        "The next model request waits for all results.",
        docs("Session event stream"),
    ),
    met(
        "ordering:failed-request:no-message",
        "A failed or interrupted request emits its end but not its unfinished message.",
        docs("Session event stream"),
    ),
    # Interrupt
    met(
        "events:interrupt:overtakes",
        "An interrupt overtakes queued input.",
        docs("Session event stream"),
    ),
    met(
        "events:interrupt:pending",
        "Until it is applied, an interrupt has a null time and the session runs.",
        docs("Session event stream"),
    ),
    met(
        "events:interrupt:model-output",
        "A response under way stops at once and its unfinished text isn't emitted.",
        docs("Session event stream"),
    ),
    met(
        "events:interrupt:ends-turn",
        "Applied, it shows with its time; then the turn ends with `end_turn`.",
        docs("Session event stream"),
    ),
    met(
        "events:interrupt:then-message",
        "A message sent after it starts the next turn.",
        docs("Session event stream"),
    ),
    met(
        "events:interrupt:queued-messages-kept",
        "Messages that were queued before it stay queued, in order.",
        INFERRED,
    ),
    met(
        "events:interrupt:open-calls",
        "Open calls get an error result with the documented text.",
        INFERRED,
    ),
    met(
        "events:interrupt:running-tool",
        "A running command is killed, and its result is the interrupted one.",
        INFERRED,
    ),
    not_yet(
        "events:interrupt:all-threads",
        "Without a thread it reaches every thread.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "events:interrupt:one-thread",
        "With a thread it reaches that one only.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    met(
        "events:interrupt:waiting",
        "On a waiting thread it closes the calls and emits idle again, without a model call.",
        docs("Multiagent orchestration"),
    ),
    not_yet(
        "events:interrupt:terminated-thread",
        "On a terminated thread it is 400.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "events:interrupt:child-silent",
        "An interrupted child doesn't report to its parent.",
        docs("Session threads"),
        "waits for multiagent sessions",
    ),
    met(
        "events:interrupt:idle",
        "On an idle session it is accepted and changes nothing.",
        INFERRED,
    ),
    met(
        "events:interrupt:has-id",
        "A stored interrupt has an id like every event.",
        INFERRED,
    ),
)
