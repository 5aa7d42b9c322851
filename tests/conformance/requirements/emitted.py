"""What the server emits: each type, stop reasons, session errors."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # Common
    met(
        "emitted:common",
        "Every stored event has `id`, `type` and `processed_at`, and parses with the SDK's type.",
        SDK,
    ),
    met(
        "emitted:no-internal",
        "Internal rows of the log are never shown.",
        INFERRED,
    ),
    # Agent events
    met(
        "emitted:agent.message",
        "`agent.message` carries the text of a model response.",
        SDK,
    ),
    not_yet(
        "emitted:agent.message:redacted",
        "`agent.message` may carry a `redacted` block.",
        SDK,
        "no model setting asks for redaction yet",
    ),
    met(
        "emitted:agent.thinking",
        "`agent.thinking` says that a thinking block finished and carries no text.",
        SDK,
    ),
    met(
        "emitted:agent.tool_use",
        "`agent.tool_use` carries name, input, permission and evaluation.",
        SDK,
    ),
    met(
        "emitted:agent.tool_use:no-thread",
        "A primary thread's tool use carries no `session_thread_id`.",
        SDK,
    ),
    met(
        "emitted:agent.tool_result",
        "`agent.tool_result` names its use and carries content and the error flag.",
        SDK,
    ),
    met(
        "emitted:agent.mcp_tool_use",
        "`agent.mcp_tool_use` also names its server.",
        SDK,
    ),
    met(
        "emitted:agent.mcp_tool_result",
        "`agent.mcp_tool_result` names its use.",
        SDK,
    ),
    met(
        "emitted:agent.custom_tool_use",
        "`agent.custom_tool_use` carries name and input.",
        SDK,
    ),
    met(
        "emitted:agent.thread_context_compacted",
        "`agent.thread_context_compacted` says that a thread's history was summarised.",
        SDK,
    ),
    not_yet(
        "emitted:agent.thread_message_sent",
        "`agent.thread_message_sent` is on the sender's stream.",
        SDK,
        "waits for multiagent sessions",
    ),
    not_yet(
        "emitted:agent.thread_message_received",
        "`agent.thread_message_received` is on the receiver's stream.",
        SDK,
        "waits for multiagent sessions",
    ),
    # Session events
    met(
        "emitted:session.status_running",
        "`session.status_running` opens the first work after idle.",
        SDK,
    ),
    met(
        "emitted:session.status_idle",
        "`session.status_idle` carries `stop_reason` and `stop_details`.",
        SDK,
    ),
    met(
        "emitted:session.status_rescheduled",
        "`session.status_rescheduled` says that a failure is being retried.",
        SDK,
    ),
    met(
        "emitted:session.status_terminated",
        "`session.status_terminated` is the last stored event.",
        SDK,
    ),
    met(
        "emitted:session.error",
        "`session.error` carries type, message and retry status.",
        SDK,
    ),
    met(
        "emitted:session.updated",
        "`session.updated` carries what changed.",
        SDK,
    ),
    met(
        "emitted:session.deleted",
        "`session.deleted` is on live streams only.",
        SDK,
    ),
    met(
        "emitted:session.usage",
        "`session.usage` stands directly before every `session.status_idle`.",
        docs("Session event stream"),
    ),
    not_yet(
        "emitted:session.usage:primary-only",
        "`session.usage` is never on a child's stream.",
        docs("Session threads"),
        "waits for multiagent sessions",
    ),
    not_yet(
        "emitted:session.thread_created",
        "`session.thread_created` announces a child thread.",
        SDK,
        "waits for multiagent sessions",
    ),
    met(
        "emitted:session.thread_created:not-primary",
        "The primary thread is never announced by `session.thread_created`.",
        SDK,
    ),
    met(
        "emitted:session.thread_status_running",
        "`session.thread_status_running` names thread and agent.",
        SDK,
    ),
    met(
        "emitted:session.thread_status_rescheduled",
        "`session.thread_status_rescheduled` names thread and agent.",
        SDK,
    ),
    met(
        "emitted:session.thread_status_terminated",
        "`session.thread_status_terminated` names thread and agent.",
        SDK,
    ),
    met(
        "emitted:session.thread_status_idle",
        "`session.thread_status_idle` also carries the stop reason.",
        SDK,
    ),
    # Spans
    met(
        "emitted:span.model_request_start",
        "`span.model_request_start` stands before each model call.",
        SDK,
    ),
    met(
        "emitted:span.model_request_end",
        "`span.model_request_end` names its start and carries usage and the error flag.",
        SDK,
    ),
    met(
        "emitted:span.model_request_end:always",
        "Every start has its end, after failures and interrupts too.",
        SDK,
    ),
    met(
        "emitted:span.model_request_end:usage",
        "Its usage has all four token counts.",
        SDK,
    ),
    not_yet(
        "emitted:span.outcome_evaluation_start",
        "`span.outcome_evaluation_start` names outcome and iteration.",
        SDK,
        "waits for outcomes",
    ),
    not_yet(
        "emitted:span.outcome_evaluation_ongoing",
        "`span.outcome_evaluation_ongoing` comes while an evaluation goes on.",
        SDK,
        "waits for outcomes",
    ),
    not_yet(
        "emitted:span.outcome_evaluation_end",
        "`span.outcome_evaluation_end` carries result, explanation and usage.",
        SDK,
        "waits for outcomes",
    ),
    not_yet(
        "emitted:workflow_run.created",
        "`workflow_run.created` comes first and lists the phases.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.status_running",
        "`workflow_run.status_running` says that a run works.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.status_idle",
        "`workflow_run.status_idle` says that a run waits.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.phase_started",
        "`workflow_run.phase_started` names the phase.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.phase_ended",
        "`workflow_run.phase_ended` points at its start.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.error",
        "`workflow_run.error` carries the error's type and message.",
        SDK,
        "waits for workflow runs",
    ),
    not_yet(
        "emitted:workflow_run.status_ended",
        "`workflow_run.status_ended` comes last, with the result.",
        SDK,
        "waits for workflow runs",
    ),
    # Stop reasons
    met(
        "emitted:stop:end_turn",
        "`end_turn` means complete or interrupted.",
        SDK,
    ),
    met(
        "emitted:stop:requires_action",
        "`requires_action` lists the ids of unanswered uses.",
        SDK,
    ),
    met(
        "emitted:stop:retries_exhausted",
        "`retries_exhausted` means given up after retries or at a limit.",
        SDK,
    ),
    met(
        "emitted:stop:budget_reached",
        "`budget_reached` means paused at the cap.",
        SDK,
    ),
    met(
        "emitted:stop:refusal",
        "`refusal` comes with `stop_details`; otherwise these are null.",
        SDK,
    ),
    # session.error
    met(
        "emitted:error:model_overloaded_error",
        "An overloaded model is `model_overloaded_error`, retrying, then exhausted.",
        SDK,
    ),
    met(
        "emitted:error:model_rate_limited_error",
        "A rate limit of the model is `model_rate_limited_error`, retrying, then exhausted.",
        SDK,
    ),
    met(
        "emitted:error:model_request_failed_error",
        "Any other model failure is `model_request_failed_error`.",
        SDK,
    ),
    met(
        "emitted:error:billing_error",
        "A provider's billing trouble is `billing_error`, not retried.",
        SDK,
    ),
    met(
        "emitted:error:tool_use_limit_reached_error",
        "Too many tool rounds in a turn are `tool_use_limit_reached_error`.",
        SDK,
    ),
    met(
        "emitted:error:compaction_limit_reached_error",
        "Compactions without progress are `compaction_limit_reached_error`.",
        SDK,
    ),
    met(
        "emitted:error:mcp",
        "MCP failures name their server.",
        SDK,
    ),
    met(
        "emitted:error:credential_host_unreachable_error",
        "A credential whose host can't be reached is named.",
        SDK,
        "when a turn's first command runs",
    ),
    met(
        "emitted:error:repository",
        "Repository failures are always `retrying`.",
        SDK,
    ),
    met(
        "emitted:error:unknown_error",
        "A failure of no other type is `unknown_error`.",
        SDK,
        "every failure that this server can meet has a type of its own",
    ),
    not_yet(
        "emitted:error:child-limit",
        "A child thread that reaches a limit is terminated.",
        SDK,
        "waits for multiagent sessions",
    ),
)
