"""The error envelope, and which HTTP status goes with which error type and code."""

from __future__ import annotations

from conformance.requirements.entry import INFERRED, SDK, differs, docs, met, not_yet

LEDGER = (
    met(
        "errors:envelope",
        "An error body has `type: error`, `request_id`, and `error` with `type` and `message`.",
        SDK,
    ),
    met(
        "errors:sdk-class",
        "The SDK raises the exception class of the status, with the message and the request id.",
        SDK,
    ),
    met(
        "errors:details",
        "A typed error names its code in `error.details.error_code`.",
        SDK,
    ),
    met(
        "errors:400",
        "A broken rule is 400 `invalid_request_error`.",
        docs("Errors"),
    ),
    met(
        "errors:401",
        "A missing or bad key is 401 `authentication_error`.",
        docs("Errors"),
    ),
    differs(
        "errors:402",
        "Billing trouble is 402 `billing_error`.",
        docs("Errors"),
        "nothing is billed here, so no request can meet it",
    ),
    met(
        "errors:403",
        "A forbidden action is 403 `permission_error`.",
        docs("Errors"),
    ),
    met(
        "errors:404",
        "An unknown id or route is 404 `not_found_error`.",
        docs("Errors"),
    ),
    met(
        "errors:404:other-workspace",
        "An id of another workspace is the same 404 as an unknown one.",
        INFERRED,
    ),
    met(
        "errors:405",
        "A known path with a method that it doesn't have is answered with the envelope.",
        INFERRED,
    ),
    met(
        "errors:409",
        "A conflict is 409 `conflict_error`.",
        SDK,
    ),
    met(
        "errors:412",
        "A work heartbeat's broken precondition is 412 `invalid_request_error`.",
        SDK,
    ),
    met(
        "errors:413",
        "A body over 32 MB is 413 `request_too_large`.",
        docs("Errors"),
    ),
    met(
        "errors:429",
        "Too many requests are 429 `rate_limit_error` with `retry-after`.",
        docs("Errors"),
    ),
    met(
        "errors:500",
        "A failure inside is 500 `api_error`, without the cause's text.",
        docs("Errors"),
        "no request is known to cause one",
    ),
    differs(
        "errors:504",
        "A request that ran out of time is 504 `timeout_error`.",
        docs("Errors"),
        "no request has a time limit of its own; what takes long is told on the session",
    ),
    met(
        "errors:529",
        "A server without room answers 529 `overloaded_error`.",
        docs("Errors"),
    ),
    met(
        "errors:code:environment_not_found",
        "An unknown environment is 404 `environment_not_found`.",
        SDK,
    ),
    met(
        "errors:code:environment_archived",
        "A write to an archived environment, or a session on it, is 400 `environment_archived`.",
        SDK,
    ),
    differs(
        "errors:code:environment_create_disabled",
        "Creating an environment where policy forbids it is 403 `environment_create_disabled`.",
        SDK,
        "no policy forbids it here: a key's scope decides, with 403 `permission_error`",
    ),
    differs(
        "errors:code:environment_update_disabled",
        "Updating an environment where policy forbids it is 403 `environment_update_disabled`.",
        SDK,
        "no policy forbids it here: a key's scope decides, with 403 `permission_error`",
    ),
    met(
        "errors:code:invalid_metadata",
        "Environment metadata over its limits is 400 `invalid_metadata`.",
        SDK,
    ),
    met(
        "errors:code:invalid_config_type_change",
        "Changing an environment's `config.type` is 400 `invalid_config_type_change`.",
        SDK,
    ),
    met(
        "errors:code:heartbeat_precondition_failed",
        "A work heartbeat that expects another state is 412 `heartbeat_precondition_failed`.",
        SDK,
    ),
    not_yet(
        "errors:code:workflow_run_open",
        "A session change while a workflow run is open is 400 `workflow_run_open`.",
        SDK,
        "waits for workflow runs",
    ),
    met(
        "errors:reason:in-both-places",
        "A reason word stands both in the message and in `details.error_code`.",
        INFERRED,
    ),
)
