"""What the official SDK's own helpers need from a server."""

from __future__ import annotations

from conformance.requirements.entry import SDK, met

LEDGER = (
    met(
        "helpers:history-then-stream",
        "Stream, list and stream again, by id, sees every event once.",
        SDK,
    ),
    met(
        "helpers:results-echoed",
        "Answers are echoed with the id that the client used.",
        SDK,
    ),
    met(
        "helpers:permission-read",
        "`evaluated_permission` stands on every tool use that needs or had one.",
        SDK,
    ),
    met(
        "helpers:quiet-idle",
        "Nothing is emitted on an idle session by the server's own housekeeping.",
        SDK,
    ),
    met(
        "helpers:ended",
        "`session.status_terminated` and `session.deleted` end a helper at once.",
        SDK,
    ),
    met(
        "helpers:repeats-harmless",
        "Answers that are posted twice do no harm.",
        SDK,
    ),
    met(
        "helpers:reconnect-statuses",
        "Only failures that a retry can help are answered with a status that the helpers retry.",
        SDK,
    ),
    met(
        "helpers:environment-worker",
        "The SDK's worker runs tools against this server.",
        SDK,
    ),
    met(
        "helpers:both-clients",
        "Every resource goes from its making to its end by the synchronous and the asynchronous client alike.",
        SDK,
    ),
    met(
        "helpers:typescript",
        "Every method of the official TypeScript SDK works, or is refused with a reason.",
        SDK,
    ),
)
