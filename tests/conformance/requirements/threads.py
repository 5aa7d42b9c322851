"""Threads, and what runs in several of them: delegation, advisors, workflow runs."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # Threads
    met(
        "threads:list",
        "`GET …/threads` lists a session's threads, the primary included.",
        SDK,
    ),
    met(
        "threads:list:statuses",
        "The list can be narrowed to statuses.",
        SDK,
    ),
    met(
        "threads:retrieve",
        "`GET …/threads/{id}` returns one.",
        SDK,
    ),
    not_yet(
        "threads:archive",
        "`POST …/threads/{id}/archive` ends a child thread.",
        SDK,
        "waits for multiagent sessions",
    ),
    met(
        "threads:events",
        "`GET …/threads/{id}/events` lists one thread's events.",
        SDK,
    ),
    met(
        "threads:stream",
        "`GET …/threads/{id}/stream` streams one thread.",
        SDK,
    ),
    met(
        "threads:stream:path",
        "The path `…/events/stream` doesn't exist below a thread.",
        docs("Session event stream"),
    ),
    met(
        "threads:object:fields",
        "The thread object has every field of the SDK's type.",
        SDK,
    ),
    met(
        "threads:object:primary",
        "The primary thread has no parent and the session's agent.",
        SDK,
    ),
    met(
        "threads:object:null-stats",
        "`stats` and `usage` are null before the first status change and the first idle.",
        SDK,
    ),
    met(
        "threads:one-primary",
        "Every session has exactly one primary thread.",
        docs("Multiagent orchestration"),
    ),
    met(
        "threads:archive:primary",
        "The primary thread can't be archived: 400.",
        INFERRED,
    ),
    not_yet(
        "threads:archive:running",
        "A running thread can't be archived; a waiting one can.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "threads:limit",
        "At most 25 child threads live at once.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "threads:history",
        "A thread keeps its history for later tasks.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    # Configuration
    not_yet(
        "multiagent:coordinator",
        "A coordinator has 1 to 20 distinct members, one level deep.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:coordinator:pinned",
        "Members' versions are pinned when the coordinator is saved.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:coordinator:self",
        "`self` reads back as the agent's own id and version.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:20261001",
        "The newer form has advisor, subagents and workflows with their defaults.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:20261001:empty",
        "No inline agents and no predefined ones is 400.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:snapshot",
        "A session's snapshot gives every member in full.",
        SDK,
        "waits for multiagent sessions",
    ),
    # Delegation
    not_yet(
        "multiagent:delegation:events",
        "Creation, task, running, report and idle show on the primary stream.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:primary-unnamed",
        "The agent's name is absent when the other side is the primary.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:shared",
        "Threads share sandbox, files, vaults and budget.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:apart",
        "Threads have their own history, model, system and tools.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:cross-post",
        "A child's call that needs the client is copied to the primary stream.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:answer-routed",
        "The answer is routed by the tool's id.",
        docs("Session threads"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:delegation:coordinator-idle",
        "A child's report starts a turn of an idle coordinator.",
        INFERRED,
        "waits for multiagent sessions",
    ),
    # Advisor
    not_yet(
        "multiagent:advisor:thread",
        "A consultation is a thread of the platform that ends by itself.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:advisor:no-tool-use",
        "A consultation shows no tool use.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:advisor:redacted",
        "Clients may see advice as redacted.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:advisor:failure",
        "A failed consultation never fails the turn.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "multiagent:advisor:pairing",
        "The advisor is at least as capable as the agent.",
        docs("Multiagent orchestration"),
        "waits for multiagent sessions",
    ),
    # Workflow runs
    not_yet(
        "workflows:life",
        "A run goes from created to ended, with phases between.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "workflows:threads",
        "A run's threads carry its id and are archived by the server.",
        docs("Workflow runs"),
        "waits for workflow runs",
    ),
    not_yet(
        "workflows:limits",
        "Runs have limits on time, threads and agents.",
        docs("Workflow runs"),
        "waits for workflow runs",
    ),
    not_yet(
        "workflows:keeps-running",
        "An open run keeps the session running.",
        docs("Workflow runs"),
        "waits for workflow runs",
    ),
)
