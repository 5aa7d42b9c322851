"""Files, repositories and memory stores mounted into a session."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, docs, met

LEDGER = (
    met(
        "resources:add",
        "A file can be added to an existing session.",
        SDK,
    ),
    met(
        "resources:list",
        "A session's resources can be listed.",
        SDK,
    ),
    met(
        "resources:retrieve",
        "One resource can be read.",
        SDK,
    ),
    met(
        "resources:update",
        "Only a repository's token can be updated.",
        SDK,
    ),
    met(
        "resources:delete",
        "A resource can be removed and answers `session_resource_deleted`.",
        SDK,
    ),
    met(
        "resources:file:copy",
        "The session gets its own copy, so another `file_id` reads back.",
        docs("Adding files"),
    ),
    met(
        "resources:file:path",
        "The default path is under the uploads folder, read-only.",
        docs("Adding files"),
    ),
    met(
        "resources:file:limit",
        "At most 500 files can be mounted.",
        docs("Adding files"),
    ),
    met(
        "resources:repository:form",
        "A repository has an address, and optionally a token, a checkout and a path.",
        SDK,
    ),
    met(
        "resources:repository:token-hidden",
        "The token is never read back and never inside the sandbox.",
        docs("Accessing GitHub"),
    ),
    met(
        "resources:repository:clone-failed",
        "A failed clone is `session.error`; the session runs without it.",
        SDK,
    ),
    met(
        "resources:memory:form",
        "A memory store is attached at creation, at most eight, with access and instructions.",
        SDK,
    ),
    met(
        "resources:while-running",
        "Adding and removing while running counts from the next tool call.",
        INFERRED,
    ),
)
