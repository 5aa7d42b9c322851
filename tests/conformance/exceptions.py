"""The names of the SDK's surface that no test witnesses, each with the reason: it differs on purpose, or is not yet.

A pattern is a shell's, over names as the manifest has them. Calls stand for all that only they send or are told.
"""

from __future__ import annotations

from dataclasses import dataclass

from conformance.requirements.entry import Status
from conformance.witnessed import Kind


@dataclass(frozen=True, slots=True)
class Exempt:
    kind: Kind
    pattern: str
    status: Status
    reason: str


def differs(kind: Kind, reason: str, *patterns: str) -> tuple[Exempt, ...]:
    """This server does something else on purpose."""
    return tuple(Exempt(kind, pattern, "differs", reason) for pattern in patterns)


def not_yet(kind: Kind, reason: str, *patterns: str) -> tuple[Exempt, ...]:
    """It may come; until then a request that has it is refused, and no answer has it."""
    return tuple(Exempt(kind, pattern, "not_yet", reason) for pattern in patterns)


PROFILES = "404 with the reason: user profiles attribute requests to a Messages API, which this server does not offer"
TUNNELS = "404 with the reason: a server inside a private network reaches its MCP servers by itself"
ORGANISATION = "404: the same calls are there for a workspace's own endpoints, at /outrider/v1/webhooks"
AGENTS = "waits for multiagent sessions"
OUTCOMES = "waits for outcomes"
WORKFLOWS = "waits for workflow runs"
WEB = "waits for the web tools"
AUTO = "waits for the automatic policy"
ROLES = "400: this server runs sessions under no cloud provider's roles"
UNKNOWN_OF_MODELS = "null: an endpoint's configuration names its models, their windows and limits, and no more"
NO_SUCH_ACTOR = "who writes to a memory here is a session or a key"
NEVER = "never sent, and refused when an endpoint asks for it: nothing of the kind happens here"
FROZEN = "400, as the API says: the vaults of a session can't be changed"

EXCEPTIONS: tuple[Exempt, ...] = (
    *differs("calls", PROFILES, "user_profiles.*"),
    *differs("calls", TUNNELS, "tunnels.*"),
    *differs("calls", ORGANISATION, "organization.webhooks.*"),
    *not_yet(
        "calls",
        "it refuses the one thread that a session has; others wait for multiagent sessions",
        "sessions.threads.archive",
    ),
    *differs("sent", FROZEN, "sessions.update:vault_ids"),
    *differs("sent", ROLES, "AWSRole*"),
    *differs("sent", "400: a block that the API shows and takes from nobody", "RedactedBlockParam:*"),
    *not_yet("sent", AUTO, "AutoPolicyParam:*"),
    *not_yet("sent", AGENTS, "agents.*:multiagent", "Advisor*", "Multiagent*", "sessions.threads.list:page"),
    *not_yet("sent", OUTCOMES, "UserDefineOutcome*", "*RubricParams:*"),
    *not_yet(
        "sent",
        WEB,
        "WebFetchToolConfigParams:url_sources",
        "WebFetchToolConfigParams:max_content_tokens",
        "WebFetchURLSource*",
        "Web*ToolConfigParams:allowed_domains",
        "Web*ToolConfigParams:blocked_domains",
        "Web*ToolConfigParams:permission_policy",
        "WebSearchToolConfigParams:user_location",
        "UserLocationParam:*",
    ),
    *differs("told", ROLES, "AWSRole*"),
    *differs(
        "told",
        UNKNOWN_OF_MODELS,
        "ModelInfo.allowed_fallback_models",
        "ModelInfo.capabilities",
        "ModelInfo.deprecated_at",
        "ModelInfo.line",
        "ModelInfo.retires_at",
        "ModelCapabilities.*",
        "*Capability.*",
        "CapabilitySupport.*",
        "ThinkingTypes.*",
    ),
    *differs("told", NO_SUCH_ACTOR, "ServiceAccountActor.*", "UserActor.*"),
    *differs(
        "told",
        NEVER,
        "WebhookAgentDeleted*",
        "WebhookDeploymentDeleted*",
        "WebhookExternalKey*",
        "WebhookUserProfile*",
        "WebhookSessionPending*",
    ),
    *differs("told", "there are no organisations here to be disabled", "OrganizationDisabled*"),
    *differs("told", "runs of deployments fall under no limit of rates", "SessionRateLimitedRun*"),
    *differs("told", "no failure is beyond a new message here: all end a turn at most", "RetryStatusTerminal.*"),
    *differs(
        "told",
        "null: a session has no start-up of its own, its sandbox starts with its first tool call",
        "SessionThreadStats.startup_seconds",
    ),
    *not_yet("told", AUTO, "AgentAutoEvaluated*", "AgentToolEvaluationAuto.*", "AutoPolicy.*"),
    *not_yet(
        "told",
        AGENTS,
        "Advisor.*",
        "Agent*.multiagent",
        "SessionAgent.multiagent",
        "*Multiagent*",
        "InlineAgent.*",
        "AgentThreadMessage*",
        "*ToolUseEvent.session_thread_id",
        "UserTool*Event.session_thread_id",
        "UserCustomToolResultEvent.session_thread_id",
        "SessionThread.parent_thread_id",
        "SessionThreadCreated*",
        "WebhookSessionThreadCreated*",
        "RedactedBlock.*",
    ),
    *not_yet("told", OUTCOMES, "*OutcomeEvaluation*", "*UserDefineOutcome*", "*Rubric.*"),
    *not_yet("told", WORKFLOWS, "WorkflowRun*", "*WorkflowRunErrorObject.*", "SessionThread*.workflow_run_id"),
    *not_yet(
        "told",
        WEB,
        "WebFetchURLSource*",
        "WebFetchToolConfig.url_sources",
        "WebFetchToolConfig.max_content_tokens",
        "Web*ToolConfig.allowed_domains",
        "Web*ToolConfig.blocked_domains",
        "WebSearchToolConfig.user_location",
        "UserLocation.*",
        "SessionUsageSnapshot.server_tool_use",
    ),
)
