"""Agents: endpoints, create body, object, update rules, versions."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

LEDGER = (
    # Endpoints
    met(
        "agents:create",
        "`POST /v1/agents` makes an agent at version 1 and returns it.",
        SDK,
    ),
    met(
        "agents:list",
        "`GET /v1/agents` lists the latest version of each agent.",
        SDK,
    ),
    met(
        "agents:list:created-at",
        "The list can be bounded by `created_at[gte]` and `created_at[lte]`.",
        SDK,
    ),
    met(
        "agents:list:include-archived",
        "Archived agents are listed only with `include_archived=true`.",
        SDK,
    ),
    met(
        "agents:retrieve",
        "`GET /v1/agents/{id}` returns the latest version.",
        SDK,
    ),
    met(
        "agents:retrieve:version",
        "`?version=n` returns that version; an unknown one is 404, one below 1 is 400.",
        SDK,
    ),
    met(
        "agents:update",
        "`POST /v1/agents/{id}` changes the sent fields and returns the agent.",
        SDK,
    ),
    met(
        "agents:archive",
        "`POST /v1/agents/{id}/archive` sets `archived_at`.",
        SDK,
    ),
    met(
        "agents:versions",
        "`GET /v1/agents/{id}/versions` lists all versions.",
        SDK,
    ),
    met(
        "agents:no-delete",
        "Agents have no delete: `DELETE` on one is refused.",
        SDK,
    ),
    # Create body
    met(
        "agents:create:model:string",
        "`model` may be a bare string and is required.",
        SDK,
    ),
    met(
        "agents:create:model:config",
        "`model` may be an object with `id`, `effort`, `speed` and `inference_geo`.",
        SDK,
    ),
    met(
        "agents:create:name",
        "`name` is required and has 1 to 256 characters.",
        SDK,
    ),
    met(
        "agents:create:description",
        "`description` has at most 2,048 characters and may be null.",
        docs("Define your agent"),
    ),
    met(
        "agents:create:system",
        "`system` has at most 100,000 characters and may be null.",
        docs("Define your agent"),
    ),
    met(
        "agents:create:tools",
        "`tools` takes built-in toolsets, MCP toolsets and custom tools.",
        SDK,
    ),
    met(
        "agents:create:tools:limit",
        "At most 256 tools count over all toolsets.",
        docs("Define your agent"),
    ),
    met(
        "agents:create:mcp-servers",
        "`mcp_servers` has at most 20 entries of type `url` with unique names.",
        SDK,
    ),
    met(
        "agents:create:skills",
        "`skills` names skills by type, id and version, at most 500.",
        SDK,
    ),
    not_yet(
        "agents:create:multiagent",
        "`multiagent` makes the agent a coordinator.",
        SDK,
        "waits for multiagent sessions",
    ),
    met(
        "agents:create:execution-identity:default",
        "A missing or null `execution_identity` is stored as `service_account`.",
        SDK,
    ),
    differs(
        "agents:create:execution-identity:aws-role",
        "`aws_role` takes a `role_arn` of at most 2,048 characters.",
        SDK,
        "400: this server runs sessions under no cloud provider's roles",
    ),
    met(
        "agents:create:metadata",
        "`metadata` has at most 16 pairs, keys of 64 and values of 512 characters.",
        SDK,
    ),
    met(
        "agents:create:refused-not-offered",
        "A valid field that this server doesn't offer yet is a clear 400, never ignored.",
        INFERRED,
    ),
    # Object
    met(
        "agents:object:fields",
        "The agent object has every field of the SDK's type, null where there is no value.",
        SDK,
    ),
    met(
        "agents:object:tools-resolved",
        "`tools` reads back with `default_config` and every entry's values filled in.",
        SDK,
    ),
    met(
        "agents:object:configs-as-sent",
        "`configs` lists the entries that were sent, resolved against the default.",
        INFERRED,
    ),
    met(
        "agents:object:skill-version",
        "A skill's `version` reads back as asked; `latest` stays `latest`.",
        INFERRED,
    ),
    met(
        "agents:object:updated-at-per-version",
        "In a version's reading `updated_at` is that version's own time.",
        docs("Define your agent"),
    ),
    # Update rules
    met(
        "agents:update:missing-keeps",
        "A field left out of an update keeps its value.",
        SDK,
    ),
    met(
        "agents:update:name-model-required",
        "`name` and `model` can't be cleared.",
        SDK,
    ),
    met(
        "agents:update:clear-text",
        "`description` and `system` are cleared by null and by the empty string.",
        SDK,
    ),
    met(
        "agents:update:lists-replace",
        "`tools`, `mcp_servers` and `skills` are replaced whole; null or `[]` clears them.",
        SDK,
    ),
    met(
        "agents:update:metadata-merges",
        "`metadata` is merged by key; null deletes a key.",
        SDK,
    ),
    met(
        "agents:update:execution-identity-null",
        "A null `execution_identity` resets it to the default.",
        SDK,
    ),
    met(
        "agents:update:model-replaces",
        "`model` is replaced whole, so a left out `inference_geo` is cleared.",
        SDK,
    ),
    met(
        "agents:update:effort-kept",
        "`effort` left out is kept while the model's id stays the same, else falls back to the default.",
        SDK,
    ),
    not_yet(
        "agents:update:multiagent",
        "`multiagent` replaces the roster, or merges level by level in its newer form.",
        SDK,
        "waits for multiagent sessions",
    ),
    met(
        "agents:update:version-stale",
        "A `version` that isn't the current one is 409, even if nothing would change.",
        docs("Define your agent"),
    ),
    met(
        "agents:update:version-absent",
        "Without `version` the last write wins.",
        docs("Define your agent"),
    ),
    met(
        "agents:update:no-change",
        "An update that changes nothing makes no version and returns the current one.",
        docs("Define your agent"),
    ),
    met(
        "agents:update:version-counts",
        "A change counts the version up by one.",
        docs("Define your agent"),
    ),
    met(
        "agents:update:archived",
        "An archived agent refuses updates with 400.",
        docs("Define your agent"),
    ),
    met(
        "agents:archive:no-new-sessions",
        "A new session can't use an archived agent.",
        docs("Define your agent"),
    ),
    met(
        "agents:archive:running-go-on",
        "Sessions that run on an archived agent go on.",
        docs("Define your agent"),
    ),
    met(
        "agents:archive:twice",
        "Archiving twice returns the same object.",
        INFERRED,
    ),
    met(
        "agents:snapshot",
        "A session holds its own copy: agent updates don't reach it.",
        docs("Permission policies"),
    ),
    not_yet(
        "agents:pinned-by-coordinator",
        "Coordinators keep the versions that were current when they were saved.",
        docs("Define your agent"),
        "waits for multiagent sessions",
    ),
)
