"""Environments: endpoints, config, rules."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met

LEDGER = (
    met(
        "environments:create",
        "`POST /v1/environments` makes an environment; only `name` is required.",
        SDK,
    ),
    met(
        "environments:list",
        "`GET /v1/environments` lists them; archived ones only with `include_archived=true`.",
        SDK,
    ),
    met(
        "environments:retrieve",
        "`GET /v1/environments/{id}` returns one.",
        SDK,
    ),
    met(
        "environments:update",
        "`POST /v1/environments/{id}` changes the sent fields.",
        SDK,
    ),
    met(
        "environments:archive",
        "`POST /v1/environments/{id}/archive` sets `archived_at`.",
        SDK,
    ),
    met(
        "environments:delete",
        "`DELETE /v1/environments/{id}` answers `environment_deleted`.",
        SDK,
    ),
    met(
        "environments:object:fields",
        "The environment object has every field of the SDK's type.",
        SDK,
    ),
    met(
        "environments:create:name",
        "`name` is required.",
        SDK,
    ),
    met(
        "environments:scope",
        "`scope` is `organization`; `account` is refused.",
        SDK,
    ),
    met(
        "environments:config:default",
        "A missing or null `config` is a cloud config with defaults.",
        INFERRED,
    ),
    met(
        "environments:config:cloud",
        "A cloud config has `networking` and `packages`.",
        SDK,
    ),
    met(
        "environments:config:packages",
        "`packages` always reads back with all six managers' lists.",
        SDK,
    ),
    met(
        "environments:config:self-hosted",
        "`{type: self_hosted}` hands the tools to a worker.",
        SDK,
    ),
    met(
        "environments:networking:unrestricted",
        "`unrestricted` networking, the default, lets a sandbox reach any host.",
        SDK,
    ),
    met(
        "environments:networking:limited",
        "`limited` networking lets a sandbox reach the listed hosts only.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:networking:host-form",
        "`allowed_hosts` are bare names or `*.` wildcards, without scheme, port or path.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:networking:private",
        "Private, link-local and metadata addresses are out of reach under every networking, unless the operator allows"
        " them.",
        INFERRED,
    ),
    met(
        "environments:networking:mcp-egress",
        "A session with an MCP server that `limited` networking shuts out is 400.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:packages:install",
        "Packages are installed by manager in alphabetical order and kept for the environment's sessions.",
        docs("Cloud environment setup"),
        "for every session of the workspace that wants the same; those of apt are unpacked, and their scripts not run",
    ),
    met(
        "environments:packages:limited",
        "Packages with `limited` networking need `allow_package_managers`.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:update:missing-keeps",
        "A field left out of an update keeps its value, inside `config` too.",
        SDK,
    ),
    met(
        "environments:update:description-null",
        "A null `description` clears it.",
        SDK,
    ),
    met(
        "environments:update:metadata",
        "Metadata is merged by key; null or an empty string deletes one.",
        SDK,
    ),
    met(
        "environments:update:type",
        "`config.type` can never change.",
        SDK,
    ),
    met(
        "environments:update:archived",
        "An archived environment refuses updates.",
        SDK,
    ),
    met(
        "environments:update:later-sandboxes",
        "A change reaches only sandboxes that are made later.",
        docs("Cloud environment setup"),
        "those of sessions that are made later",
    ),
    met(
        "environments:archive:no-new-sessions",
        "An archived environment takes no new session; existing ones go on.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:archive:twice",
        "Archiving twice returns the same object.",
        INFERRED,
    ),
    met(
        "environments:delete:in-use",
        "An environment that a session refers to can't be deleted.",
        docs("Cloud environment setup"),
    ),
    met(
        "environments:names",
        "Two environments may have one name.",
        INFERRED,
    ),
    differs(
        "environments:sandbox:size",
        "The cloud sandbox is Ubuntu 24.04 with 8 GB of memory and 10 GB of disk.",
        docs("Cloud sandbox reference"),
        "the system in it is the host's own, and memory is bounded as the operator sets it; the workspace has 10 GB",
    ),
    differs(
        "environments:sandbox:checkpoint",
        "Files outlive an idle sandbox, for 30 days from its creation.",
        docs("Cloud sandbox reference"),
        "files are kept for as long as their session is, not for 30 days",
    ),
    met(
        "environments:self-hosted:resources",
        "File and repository resources on a self-hosted session are 400.",
        docs("Self-hosted sandboxes"),
    ),
    met(
        "environments:self-hosted:queued",
        "Without a worker the session stays queued.",
        docs("Self-hosted sandboxes"),
    ),
)
