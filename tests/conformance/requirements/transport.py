"""How requests authenticate, what headers mean, how queries are encoded, retries, rate limits and ids."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, OBSERVED, SDK, differs, docs, met

LEDGER = (
    met(
        "transport:auth:bearer",
        "A key sent as `Authorization: Bearer` is accepted.",
        SDK,
    ),
    met(
        "transport:auth:x-api-key",
        "A key sent as `x-api-key` is accepted too.",
        docs("Start a session"),
    ),
    met(
        "transport:auth:missing",
        "A request without a key is answered 401 with the error envelope.",
        SDK,
    ),
    met(
        "transport:auth:unknown",
        "A request with an unknown key is answered 401 with the error envelope.",
        SDK,
    ),
    met(
        "transport:auth:environment-key",
        "An environment's key, sent as a bearer token, works on the session endpoints that a worker uses.",
        SDK,
    ),
    met(
        "transport:version:current",
        "`anthropic-version: 2026-10-21` is accepted.",
        SDK,
    ),
    met(
        "transport:version:older",
        "`anthropic-version: 2023-06-01` is accepted and makes no difference.",
        docs("Start a session"),
    ),
    met(
        "transport:beta:required",
        "Without `managed-agents-2026-04-01` in `anthropic-beta` a route answers 404 as if it didn't exist.",
        docs("Session event stream"),
    ),
    met(
        "transport:beta:list",
        "The beta value is found in a comma-joined list of several.",
        SDK,
    ),
    met(
        "transport:beta:lenient",
        "An operator's setting lets requests without the beta value through.",
        INFERRED,
    ),
    met(
        "transport:beta:memory",
        "Memory-store routes ask for `agent-memory-2026-07-22` instead.",
        docs("Beta headers"),
    ),
    met(
        "transport:workspace:own",
        "`anthropic-workspace-id` naming the key's own workspace is accepted.",
        SDK,
    ),
    met(
        "transport:workspace:other",
        "`anthropic-workspace-id` naming a workspace that the key doesn't reach is refused.",
        SDK,
    ),
    met(
        "transport:workspace:delete",
        "A closed workspace is erased with all that is in it, whoever dies on the way.",
        INFERRED,
        "our own extra",
    ),
    met(
        "transport:retry:erased",
        "What is kept for retries goes with what it is about.",
        INFERRED,
    ),
    met(
        "transport:headers:ignored",
        "`x-stainless-*`, `user-agent` and an unused `idempotency-key` change no answer.",
        SDK,
    ),
    met(
        "transport:accept:by-route",
        "A stream route answers with an event stream although the client accepts JSON only.",
        SDK,
    ),
    met(
        "transport:query:beta",
        "`?beta=true` on the address is ignored.",
        SDK,
    ),
    met(
        "transport:query:unknown",
        "Unknown query parameters are ignored.",
        INFERRED,
    ),
    met(
        "transport:query:arrays",
        "Array parameters repeat a bracketed key, brackets percent-encoded.",
        SDK,
    ),
    met(
        "transport:query:arrays:bare",
        "The array form without brackets is accepted too.",
        INFERRED,
    ),
    met(
        "transport:query:ranges",
        "Time ranges arrive as `created_at[gt]`, `[gte]`, `[lt]` and `[lte]`.",
        SDK,
    ),
    met(
        "transport:query:booleans",
        "Booleans in the query are `true` and `false`.",
        SDK,
    ),
    met(
        "transport:body:unknown-field",
        "A body field that the API doesn't define is a 400 that names it.",
        INFERRED,
    ),
    met(
        "transport:body:not-json",
        "A body that isn't JSON, or not an object, is a 400.",
        INFERRED,
    ),
    met(
        "transport:response:request-id",
        "Every response, good or bad, carries `request-id: req_…`.",
        SDK,
    ),
    met(
        "transport:response:workspace",
        "Responses to a known key name its workspace in `anthropic-workspace-id`.",
        SDK,
    ),
    differs(
        "transport:response:organization",
        "Responses name the organisation in `anthropic-organization-id`.",
        SDK,
        "a server has no organisations above its workspaces, so the header is not sent",
    ),
    met(
        "transport:response:types",
        "Every answer and every event on a stream parses strictly as the SDK's type for it, without unknown keys.",
        SDK,
    ),
    met(
        "transport:timestamps",
        "Timestamps are RFC 3339 strings in UTC.",
        OBSERVED,
    ),
    met(
        "transport:keys-always-sent",
        "Required keys of an object are always sent, with null where there is no value.",
        INFERRED,
    ),
    met(
        "transport:retry:deterministic",
        "A 409 that a retry can't help carries `x-should-retry: false`.",
        INFERRED,
    ),
    met(
        "transport:retry:no-duplicate",
        "A POST that the SDK retries after its answer was lost is answered again, not carried out again.",
        INFERRED,
    ),
    met(
        "transport:retry:idempotency-key",
        "Two POSTs with one `Idempotency-Key` and the same body are carried out once.",
        INFERRED,
    ),
    met(
        "transport:retry:no-5xx-after-commit",
        "No request that was carried out is answered with a 5xx.",
        INFERRED,
        "shown by requests made at random; what is answered when a database fails in a commit is not",
    ),
    met(
        "transport:rate:create",
        "Creating calls over the configured rate are 429 with `retry-after`.",
        docs("Reference"),
        "off unless the operator sets them",
    ),
    met(
        "transport:rate:read",
        "Reading calls over the configured rate are 429 with `retry-after`.",
        docs("Reference"),
        "off unless the operator sets them",
    ),
    met(
        "transport:ids:prefixes",
        "Ids begin with the prefix of their kind: `agent_`, `env_`, `sesn_`, `sthr_`, `sevt_`, `req_`.",
        SDK,
    ),
    met(
        "transport:ids:sortable",
        "Ids of events in one session sort in the order in which they were made.",
        INFERRED,
    ),
)
