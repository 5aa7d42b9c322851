"""Permission policies: what is evaluated, what waits, what is denied."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    not_yet(
        "permissions:policy:forms",
        "A policy is `always_allow`, `always_ask` or `auto`, on the default or on one entry.",
        SDK,
        "the first two are shown by other entries; `auto` waits for the automatic policy and is refused until then",
    ),
    met(
        "permissions:entry-over-default",
        "An entry's own policy wins over the toolset's default.",
        SDK,
    ),
    met(
        "permissions:allow",
        "Under `always_allow` the use says `evaluated_permission: allow`, with its evaluation, and runs at once.",
        SDK,
    ),
    met(
        "permissions:ask",
        "Under `always_ask` the use says `ask`, nothing runs, and the session waits.",
        SDK,
    ),
    met(
        "permissions:ask:no-timeout",
        "A question has no time limit.",
        docs("Permission policies"),
    ),
    not_yet(
        "permissions:auto:allow",
        "Under `auto` a harmless call is allowed.",
        SDK,
        "waits for the automatic policy",
    ),
    not_yet(
        "permissions:auto:ask",
        "Under `auto` an undecided call asks, with the reason `indeterminate`.",
        SDK,
        "waits for the automatic policy",
    ),
    not_yet(
        "permissions:auto:deny",
        "Under `auto` a risky call is denied with a made result and the session goes on.",
        SDK,
        "waits for the automatic policy",
    ),
    not_yet(
        "permissions:auto:intent",
        "`auto` judges by what `user.message` events asked for, and by nothing else.",
        docs("Permission policies"),
        "waits for the automatic policy",
    ),
    met(
        "permissions:not-enabled",
        "A tool that isn't enabled is denied and the use carries no evaluation.",
        SDK,
    ),
    met(
        "permissions:confirm-not-asked",
        "Confirming a use that was not `ask` is 400.",
        docs("Permission policies"),
    ),
    met(
        "permissions:judged-separately",
        "Calls of one response are judged one by one: allowed ones run while asked ones wait.",
        INFERRED,
    ),
    met(
        "permissions:next-request-waits",
        "The next model request waits until every call has a result.",
        docs("Session event stream"),
    ),
    met(
        "permissions:changed-by-update",
        "A policy of a session changes only by an update of its own `agent.tools`.",
        docs("Session operations"),
    ),
)
