"""Sessions: endpoints, create body, overrides, object, usage, update, archive and delete."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met, not_yet

LEDGER = (
    # Endpoints
    met(
        "sessions:create",
        "`POST /v1/sessions` makes a session and returns it.",
        SDK,
    ),
    met(
        "sessions:list",
        "`GET /v1/sessions` lists sessions.",
        SDK,
    ),
    met(
        "sessions:list:agent",
        "The list can be narrowed to an agent, and to a version of it; a version alone is 400.",
        SDK,
    ),
    met(
        "sessions:list:created-at",
        "The list can be bounded by `created_at[gt]`, `[gte]`, `[lt]` and `[lte]`.",
        SDK,
    ),
    met(
        "sessions:list:statuses",
        "The list can be narrowed to statuses.",
        SDK,
    ),
    met(
        "sessions:list:include-archived",
        "Archived sessions are listed only with `include_archived=true`.",
        SDK,
    ),
    met(
        "sessions:list:deployment",
        "The list can be narrowed to a deployment.",
        SDK,
    ),
    met(
        "sessions:list:memory-store",
        "The list can be narrowed to a memory store.",
        SDK,
    ),
    met(
        "sessions:retrieve",
        "`GET /v1/sessions/{id}` returns the session as it is now.",
        SDK,
    ),
    met(
        "sessions:update",
        "`POST /v1/sessions/{id}` changes the sent fields.",
        SDK,
    ),
    met(
        "sessions:archive",
        "`POST /v1/sessions/{id}/archive` ends the session for good and keeps its history.",
        SDK,
    ),
    met(
        "sessions:delete",
        "`DELETE /v1/sessions/{id}` answers `session_deleted`.",
        SDK,
    ),
    # Create body
    met(
        "sessions:create:agent:id",
        "`agent` as an id means its latest version.",
        SDK,
    ),
    met(
        "sessions:create:agent:version",
        "`agent` as a reference may pin a version.",
        SDK,
    ),
    met(
        "sessions:create:agent:archived",
        "An archived agent is 400.",
        docs("Define your agent"),
    ),
    met(
        "sessions:create:environment",
        "`environment_id` is required and must not be archived.",
        SDK,
    ),
    met(
        "sessions:create:title",
        "`title` may be given, left out or null.",
        SDK,
    ),
    met(
        "sessions:create:metadata",
        "`metadata` has at most 16 pairs, keys of 64 and values of 512 characters.",
        SDK,
    ),
    met(
        "sessions:create:resources",
        "`resources` are mounted into the sandbox.",
        SDK,
    ),
    met(
        "sessions:create:vault-ids",
        "`vault_ids` name the vaults whose credentials the session may use.",
        SDK,
    ),
    met(
        "sessions:create:budget",
        "`budget` caps the session's cost.",
        SDK,
    ),
    met(
        "sessions:create:refused-not-offered",
        "A valid field that this server doesn't offer yet is a clear 400, never ignored.",
        INFERRED,
    ),
    met(
        "sessions:initial-events:running",
        "With `initial_events` the session is returned `running`.",
        docs("Start a session"),
    ),
    met(
        "sessions:initial-events:empty",
        "An empty list equals leaving it out: the session is `idle`.",
        docs("Start a session"),
    ),
    met(
        "sessions:initial-events:stored",
        "Each initial event is in the history, in order, with an id, before the answer.",
        docs("Start a session"),
    ),
    met(
        "sessions:initial-events:not-in-response",
        "The create answer doesn't repeat the events.",
        docs("Start a session"),
    ),
    met(
        "sessions:initial-events:all-or-nothing",
        "One bad initial event means 400 and no session.",
        docs("Start a session"),
    ),
    met(
        "sessions:initial-events:kinds",
        "Only `user.message` and `user.define_outcome` may be initial.",
        SDK,
        "`user.define_outcome` is refused until there are outcomes",
    ),
    met(
        "sessions:initial-events:limit",
        "At most 50 initial events are accepted.",
        SDK,
    ),
    met(
        "sessions:initial-events:documents",
        "More than 100 documents from files in all are 400.",
        docs("Start a session"),
    ),
    # Overrides
    met(
        "sessions:overrides:inherit",
        "A missing override inherits the agent's value.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:clear",
        "Null, or `[]` for lists, clears the value for this session.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:replace",
        "A value replaces the agent's whole, never merged.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:model-null",
        "`model: null` is 400 `agent_model_required`.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:tools-skills",
        "Clearing `tools` while skills remain is 400.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:servers-tools",
        "Clearing `mcp_servers` while tools refer to one is 400.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:effort",
        "A `model` override loses the agent's `effort`, and its own is ignored.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:inference-geo",
        "A `model` override without `inference_geo` clears the agent's pin.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:base-version",
        "The answer's agent names the base id and version and shows the effective values.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:agent-untouched",
        "The agent itself and its other sessions stay as they were.",
        docs("Start a session"),
    ),
    met(
        "sessions:overrides:model-sees",
        "The effective values are what the model request carries.",
        docs("Start a session"),
    ),
    # Object
    met(
        "sessions:object:fields",
        "The session object has every field of the SDK's type.",
        SDK,
    ),
    met(
        "sessions:object:agent",
        "Its `agent` is a snapshot without metadata and times.",
        SDK,
    ),
    met(
        "sessions:object:status",
        "Its `status` is `idle`, `running`, `rescheduling` or `terminated`.",
        SDK,
    ),
    met(
        "sessions:object:stats",
        "Its `stats` give active time and time since creation.",
        SDK,
    ),
    met(
        "sessions:object:deployment",
        "`deployment_id` names the deployment that made the session.",
        SDK,
    ),
    met(
        "sessions:usage:tokens",
        "`usage` sums input, output and cache tokens of all model requests.",
        SDK,
    ),
    met(
        "sessions:usage:uncached",
        "`input_tokens` counts uncached tokens only.",
        docs("Session event stream"),
    ),
    met(
        "sessions:usage:list-cost",
        "`list_cost` is whole cents as a string, rounded, where the model has a price.",
        docs("Session event stream"),
    ),
    met(
        "sessions:usage:active-seconds",
        "`active_seconds` counts overlapping threads once.",
        docs("Session event stream"),
        "active time is counted; nothing can overlap before multiagent sessions",
    ),
    met(
        "sessions:usage:duration",
        "`stats.duration_seconds` stands still once the session is terminated.",
        SDK,
    ),
    not_yet(
        "sessions:usage:web",
        "`server_tool_use` counts web searches; fetches stay 0.",
        SDK,
        "waits for the web tools",
    ),
    # Update
    met(
        "sessions:update:title",
        "The title can be set and cleared until the session is terminated.",
        SDK,
    ),
    met(
        "sessions:update:metadata",
        "Metadata is patched: a string sets a key, null deletes it.",
        SDK,
    ),
    met(
        "sessions:update:agent:idle",
        "`agent.tools` and `agent.mcp_servers` are replaced whole, on an idle session.",
        docs("Session operations"),
    ),
    met(
        "sessions:update:agent:running",
        "Changing the agent part of a running session is 400.",
        docs("Session operations"),
    ),
    met(
        "sessions:update:agent:requires-action",
        "Waiting for answers counts as idle for an update.",
        INFERRED,
    ),
    met(
        "sessions:update:budget",
        "The budget can be raised or removed.",
        docs("Session budgets"),
    ),
    met(
        "sessions:update:vault-ids",
        "`vault_ids` can't be changed: 400.",
        SDK,
    ),
    met(
        "sessions:update:event",
        "A real change emits `session.updated` with the changed fields only.",
        SDK,
    ),
    met(
        "sessions:update:event:none",
        "An update that changes nothing emits no event.",
        SDK,
    ),
    met(
        "sessions:update:event:agent",
        "In `session.updated` the agent is the full snapshot and the metadata the full map.",
        SDK,
    ),
    met(
        "sessions:update:next-turn",
        "The new configuration counts from the next turn.",
        SDK,
    ),
    met(
        "sessions:update:terminated",
        "A terminated session refuses updates.",
        SDK,
    ),
    # Archive and delete
    met(
        "sessions:archive:running",
        "Archiving a running or rescheduling session is 400.",
        docs("Session operations"),
    ),
    met(
        "sessions:archive:terminates",
        "Archiving sets `archived_at`, status `terminated`, and emits `session.status_terminated`.",
        docs("Session operations"),
    ),
    met(
        "sessions:archive:readable",
        "The history of an archived session stays readable.",
        docs("Session operations"),
    ),
    met(
        "sessions:archive:no-events",
        "An archived session refuses new events with 400.",
        docs("Session operations"),
    ),
    met(
        "sessions:archive:twice",
        "Archiving twice returns the same object.",
        INFERRED,
    ),
    met(
        "sessions:delete:running",
        "Deleting a running session is 400.",
        docs("Session operations"),
    ),
    met(
        "sessions:delete:gone",
        "After a delete the session and its events are 404.",
        docs("Session operations"),
    ),
    met(
        "sessions:delete:stream",
        "Open streams get `session.deleted` and end.",
        docs("Session operations"),
    ),
    met(
        "sessions:delete:sandbox",
        "A delete erases the session's sandbox and files.",
        docs("Session operations"),
    ),
    met(
        "sessions:delete:others-stay",
        "Agents, environments and other sessions stay.",
        docs("Session operations"),
    ),
    met(
        "sessions:status-before-event",
        "Once `session.status_idle` is on the stream, reading the session says `idle`.",
        INFERRED,
    ),
    met(
        "sessions:no-hands-needed",
        "A session that runs no tool never starts a sandbox.",
        INFERRED,
    ),
)
