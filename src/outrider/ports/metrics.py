"""The metrics of a server, by name: what is counted and measured, in which unit, with which labels.

Labels are bounded by the configuration and the code: no session, no key, no name that a client or a model chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
OTHER = "other"
"""The label for whatever is not known beforehand."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` as Prometheus shows it, a counter's with its `_total`. `buckets` are a histogram's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


BUILD = Metric("outrider_build_info", "gauge", "Always 1; the version that runs.", ("version",))
STARTED = Metric("outrider_process_start_time_seconds", "gauge", "When the server process started, in Unix time.")

HTTP_REQUESTS = Metric(
    "outrider_http_requests_total", "counter", "Requests to the API that were answered.", ("route", "method", "status")
)
HTTP_SECONDS = Metric(
    "outrider_http_request_duration_seconds",
    "histogram",
    "Time until an answer was ready; of a stream, until it was open.",
    ("route", "method"),
    FAST,
)
STREAM_READERS = Metric("outrider_stream_readers", "gauge", "Streams of sessions that are open now.")

RUNNING = Metric("outrider_sessions_running", "gauge", "Sessions that this process drives now.")
RUNNABLE = Metric("outrider_sessions_runnable", "gauge", "Sessions in the store that wait for an owner.")
CLAIMS = Metric("outrider_session_claims_total", "counter", "Sessions that this process took on.")
FENCED = Metric("outrider_session_fenced_total", "counter", "Times that another owner had taken a session over.")
TURN_SECONDS = Metric(
    "outrider_turn_duration_seconds",
    "histogram",
    "A session's time from taking up a message to resting, as far as this process drove it, by how it ended.",
    ("outcome",),
    SLOW,
)
DRIVER_FAILURES = Metric(
    "outrider_driver_failures_total", "counter", "Errors inside the server that broke a drive off."
)

MODEL_REQUESTS = Metric(
    "outrider_model_requests_total", "counter", "Requests to a model that ended.", ("endpoint", "outcome")
)
MODEL_SECONDS = Metric(
    "outrider_model_request_duration_seconds", "histogram", "A model request from start to end.", ("endpoint",), SLOW
)
FIRST_TOKEN_SECONDS = Metric(
    "outrider_model_first_token_seconds", "histogram", "From a model request's start to its first block.",
    ("endpoint",), SLOW,
)  # fmt: skip
TOKENS = Metric(
    "outrider_model_tokens_total", "counter", "Tokens, as the model's server counted them.", ("endpoint", "kind")
)
RESCHEDULES = Metric("outrider_model_retries_total", "counter", "Model requests put off to be tried again.")

TOOL_CALLS = Metric("outrider_tool_calls_total", "counter", "Calls of built-in tools that ended.", ("tool", "outcome"))
TOOL_SECONDS = Metric(
    "outrider_tool_call_duration_seconds", "histogram", "A built-in tool's call from start to end.", ("tool",), SLOW
)
SANDBOXES = Metric("outrider_sandboxes_live", "gauge", "Sandboxes that are alive, as far as this process knows.")
SANDBOX_STARTS = Metric(
    "outrider_sandbox_cold_start_seconds", "histogram", "Time until the host of a new sandbox was there.", (), FAST
)

COMMIT_SECONDS = Metric(
    "outrider_store_commit_duration_seconds", "histogram", "One commit of the store, with all jobs in it.", (), FAST
)
BATCH_JOBS = Metric("outrider_store_batch_jobs", "histogram", "Jobs that shared one commit.", (), COUNTS)
LOG_ROWS = Metric("outrider_log_rows_total", "counter", "Rows that this process appended to sessions' logs.")
HOUSEKEEPING_FAILURES = Metric(
    "outrider_housekeeping_failures_total", "counter", "Parts of rounds of housekeeping that failed."
)
WEBHOOK_ATTEMPTS = Metric(
    "outrider_webhook_attempts_total",
    "counter",
    "Webhooks that this process had sent, by what came of it.",
    ("outcome",),
)
VAULT_UP = Metric("outrider_vault_up", "gauge", "1 if the vault process gave its own metrics to this scrape, else 0.")

SERVER = (
    BUILD, STARTED, HTTP_REQUESTS, HTTP_SECONDS, STREAM_READERS, RUNNING, RUNNABLE, CLAIMS, FENCED, TURN_SECONDS,
    DRIVER_FAILURES, MODEL_REQUESTS, MODEL_SECONDS, FIRST_TOKEN_SECONDS, TOKENS, RESCHEDULES, TOOL_CALLS, TOOL_SECONDS,
    SANDBOXES, SANDBOX_STARTS, COMMIT_SECONDS, BATCH_JOBS, LOG_ROWS, HOUSEKEEPING_FAILURES, VAULT_UP,
    WEBHOOK_ATTEMPTS,
)  # fmt: skip

VAULT_STARTED = Metric(
    "outrider_vault_process_start_time_seconds", "gauge", "When the vault process started, in Unix time."
)
VAULT_REQUESTS = Metric(
    "outrider_vault_proxied_requests_total",
    "counter",
    "Requests that the vault passed on, by upstream and the status that came back, or how it failed.",
    ("upstream", "outcome"),
)
VAULT_REFUSALS = Metric(
    "outrider_vault_refusals_total", "counter", "Requests that the vault did not let out.", ("reason",)
)
EGRESS_REQUESTS = Metric(
    "outrider_egress_requests_total",
    "counter",
    "Requests of sandboxes to the network that ended, by how they came and what became of them.",
    ("how", "verdict"),
)
EGRESS_BYTES = Metric("outrider_egress_bytes_total", "counter", "Bytes that sandboxes sent and received.", ("way",))

VAULT = (VAULT_STARTED, VAULT_REQUESTS, VAULT_REFUSALS, EGRESS_REQUESTS, EGRESS_BYTES)
