"""What a running server tells of itself: health, metrics, traces and log lines, as an operator's tools see them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic
from live_server import Server, Stage, data_directory, serving
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otlp_receiver import Kept, Receiver
from prometheus_client.parser import text_string_to_metric_families
from session_talk import Talk, message
from turns import TOOLSET

from outrider.models.scripted.script import Barrier, HttpError, Text, ToolUse, Turn
from outrider.ports import metrics
from outrider.testing.server_process import data_directory as short_directory
from outrider.testing.server_process import running_server

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
MODEL_KEY = "canary-model-key-0123456789"
WORDS = "canary-words-of-a-client"
COMMAND_WORD = "canary-in-a-command"
CONFIG = """
[server]
metrics = "127.0.0.1:0"
log_format = "json"

[telemetry]
otlp_endpoint = "{collector}"

[limits]
backoff_first = 0.02
backoff_most = 0.05
"""
DEADLINE = 30.0


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    with Receiver().open() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def watched(stage: Stage, receiver: Receiver) -> Generator[Server]:
    """A server that tells everything it can."""
    with data_directory() as data:
        environment = {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": MODEL_KEY}
        with serving(data, environment, config=CONFIG.format(collector=receiver.url)) as server:
            yield server


_clients: dict[str, Anthropic] = {}


@pytest.fixture(scope="module", autouse=True)
def clients_are_closed() -> Generator[None]:
    yield
    while _clients:
        _clients.popitem()[1].close()


def client_of(server: Server) -> Anthropic:
    """One client a server, closed at the end."""
    if server.url not in _clients:
        _clients[server.url] = server.client()
    return _clients[server.url]


def metrics_url(server: Server) -> str:
    return json.loads((server.data / "server.json").read_text())["metrics"]


def whole(server: Server) -> dict[Any, float]:
    """The same, the vault's own among them: what does not answer in time is left out."""

    def look() -> dict[Any, float] | None:
        found = scrape(server)
        return found if found[metrics.VAULT_UP.name, ()] == 1 else None

    return until(look, "the vault is seen")


def scrape(server: Server) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and its labels' values, sorted by the labels' names."""
    text = httpx2.get(metrics_url(server), timeout=DEADLINE).raise_for_status().text
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(before: dict[Any, float], after: dict[Any, float], name: str, *labels: str) -> float:
    key = (name, tuple(labels))
    return after.get(key, 0.0) - before.get(key, 0.0)


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
    raise AssertionError(f"not within {DEADLINE} s: {what}")


def opened(server: Server, stage: Stage, name: str, *answers: Any, **decide: Any) -> Talk:
    stage.put(name, *answers, **decide)
    client = client_of(server)
    fields: dict[str, Any] = {"name": "watched", "model": name, "tools": [TOOLSET]}
    agent = client.beta.agents.create(**fields)
    environment = client.beta.environments.create(name="tests")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    return Talk(client, session.id)


def send_with(talk: Talk, text: str, **headers: str) -> None:
    events: Any = [message(text)]
    talk.client.beta.sessions.events.send(talk.id, events=events, extra_headers=headers)


def worked(server: Server, stage: Stage, name: str, **headers: str) -> Talk:
    """A session that has run one command and come to rest."""
    talk = opened(server, stage, name, Turn(ToolUse("bash", {"command": f"echo {COMMAND_WORD}"})), Turn("Done."))
    send_with(talk, WORDS, **headers)
    talk.wait()
    return talk


@contextmanager
def frozen(pid: int) -> Generator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# -- health


def ready(server: Server) -> httpx2.Response:
    return httpx2.get(f"{server.url}/readyz", timeout=DEADLINE)


def test_a_server_that_can_work_says_so_without_a_key(watched: Server) -> None:
    assert httpx2.get(f"{watched.url}/healthz", timeout=DEADLINE).json() == {"status": "ok"}
    answer = ready(watched)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert set(answer.json()["checks"]) == {"store", "vault", "disk", "sandbox"}


def test_readiness_goes_with_the_vault_and_comes_back_with_it(watched: Server) -> None:
    with frozen(watched.pids()["vault"]):
        answer = ready(watched)
        assert answer.status_code == 503
        assert answer.json()["failing"] == ["vault"]
        assert answer.json()["checks"]["store"] == "ok"
        assert str(watched.data) not in answer.text
        assert httpx2.get(f"{watched.url}/healthz", timeout=DEADLINE).status_code == 200
        assert scrape(watched)[metrics.VAULT_UP.name, ()] == 0
    until(lambda: ready(watched).status_code == 200, "ready again")
    until(lambda: scrape(watched)[metrics.VAULT_UP.name, ()] == 1, "the vault is seen again")


def test_a_disk_without_room_makes_a_server_unready_and_names_the_disk() -> None:
    with short_directory() as data:
        data.mkdir(mode=0o700)
        (data / "config.toml").write_text(f"[limits]\nlog_reserve_bytes = {2**62}\n")
        with running_server(data) as server:
            answer = httpx2.get(f"{server.until_up()}/readyz", timeout=DEADLINE)
            assert answer.status_code == 503
            assert answer.json()["failing"] == ["disk"]
            assert "not ready: disk" in server.said()


def test_the_operators_port_answers_about_health_too_and_not_the_api(watched: Server) -> None:
    place = metrics_url(watched).removesuffix("/metrics")
    assert httpx2.get(f"{place}/readyz", timeout=DEADLINE).status_code == 200
    assert httpx2.get(f"{place}/healthz", timeout=DEADLINE).status_code == 200
    assert httpx2.get(f"{place}/v1/agents", timeout=DEADLINE).status_code == 404


# -- metrics


def test_metrics_are_not_on_the_public_port(watched: Server) -> None:
    headers = {"authorization": f"Bearer {watched.key}"}
    assert httpx2.get(f"{watched.url}/metrics", headers=headers, timeout=DEADLINE).status_code == 404


def test_a_turn_moves_what_it_should(watched: Server, stage: Stage) -> None:
    before = whole(watched)
    worked(watched, stage, "metrics-turn")
    after = until(lambda: _settled(watched, before, answers=("200", 2)), "the turn is counted")
    assert grown(before, after, "outrider_session_claims_total") == 1
    assert grown(before, after, "outrider_turn_duration_seconds_count", "end_turn") == 1
    assert grown(before, after, "outrider_model_requests_total", "default", "ok") == 2
    assert grown(before, after, "outrider_model_first_token_seconds_count", "default") == 2
    assert grown(before, after, "outrider_model_request_duration_seconds_count", "default") == 2
    assert grown(before, after, "outrider_model_tokens_total", "default", "output") > 0
    assert grown(before, after, "outrider_tool_calls_total", "ok", "bash") == 1
    assert grown(before, after, "outrider_tool_call_duration_seconds_count", "bash") == 1
    assert grown(before, after, "outrider_sandbox_cold_start_seconds_count") == 1
    assert after["outrider_sandboxes_live", ()] >= 1
    assert grown(before, after, "outrider_log_rows_total") > 10
    assert grown(before, after, "outrider_store_commit_duration_seconds_count") > 3
    assert grown(before, after, "outrider_vault_proxied_requests_total", "200", "default") == 2
    route = "/v1/sessions/{session_id}/events"
    assert grown(before, after, "outrider_http_requests_total", "POST", route, "200") == 1
    assert grown(before, after, "outrider_http_request_duration_seconds_count", "POST", route) == 1


def _settled(
    server: Server, before: dict[Any, float], outcome: str = "end_turn", *, answers: tuple[str, int]
) -> dict[Any, float] | None:
    """All samples, once the turn is over and the vault, which counts for itself, has so many answers of this status."""
    after, (status, wanted) = scrape(server), answers
    done = grown(before, after, "outrider_turn_duration_seconds_count", outcome)
    passed_on = grown(before, after, "outrider_vault_proxied_requests_total", status, "default") >= wanted
    return after if done and passed_on and after["outrider_sessions_running", ()] == 0 else None


def test_gauges_show_what_is_under_way(watched: Server, stage: Stage) -> None:
    talk = opened(watched, stage, "metrics-gauges", Turn(Text(Barrier("gauges"), "Done.")))
    with talk.stream() as reader:
        talk.say("go")
        stage.arrived("gauges")
        now = scrape(watched)
        assert now["outrider_sessions_running", ()] == 1
        assert now["outrider_sessions_runnable", ()] == 0
        assert now["outrider_stream_readers", ()] == 1
        stage.release("gauges")
        reader.idle()
    until(lambda: scrape(watched)["outrider_stream_readers", ()] == 0, "no reader is left")


def test_a_failing_model_is_counted_by_its_kind_and_its_retries(watched: Server, stage: Stage) -> None:
    before = whole(watched)
    talk = opened(watched, stage, "metrics-failing", HttpError(529, "overloaded_error", "busy"))
    talk.say("go")
    talk.wait()
    after = until(lambda: _settled(watched, before, "retries_exhausted", answers=("529", 5)), "the turn is counted")
    assert grown(before, after, "outrider_model_requests_total", "default", "model_overloaded_error") == 5
    assert grown(before, after, "outrider_model_retries_total") == 4
    assert grown(before, after, "outrider_vault_proxied_requests_total", "529", "default") == 5


def test_labels_do_not_grow_with_sessions_paths_or_methods(watched: Server, stage: Stage) -> None:
    first = whole(watched)
    worked(watched, stage, "metrics-labels-0")
    httpx2.get(f"{watched.url}/no/such/path", timeout=DEADLINE)
    httpx2.request("BREW", f"{watched.url}/v1/agents", timeout=DEADLINE)
    before = set(until(lambda: _settled(watched, first, answers=("200", 2)), "the turn is counted"))
    for number in (1, 2, 3):
        worked(watched, stage, f"metrics-labels-{number}")
        httpx2.get(f"{watched.url}/no/such/path/{number}", timeout=DEADLINE)
        httpx2.request(f"BREW{number}", f"{watched.url}/v1/agents", timeout=DEADLINE)
    assert set(scrape(watched)) - before == set()


def test_every_metric_is_scraped_and_no_other(watched: Server) -> None:
    text = httpx2.get(metrics_url(watched), timeout=DEADLINE).text
    found = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert found == {metric.name for metric in (*metrics.SERVER, *metrics.VAULT)}


# -- traces


def _by_name(spans: list[Kept], name: str) -> list[Kept]:
    return [span for span in spans if span.name == name and span.trace == TRACE]


def test_a_clients_trace_goes_through_api_turn_model_and_tool(
    watched: Server, stage: Stage, receiver: Receiver
) -> None:
    talk = worked(watched, stage, "traced", traceparent=TRACEPARENT)
    receiver.until(lambda spans: _by_name(spans, "invoke_agent"))
    (api,) = _by_name(receiver.spans, "POST /v1/sessions/{session_id}/events")
    (turn,) = _by_name(receiver.spans, "invoke_agent")
    chats = _by_name(receiver.spans, "chat traced")
    (tool,) = _by_name(receiver.spans, "execute_tool bash")
    appends = _by_name(receiver.spans, "append")
    assert api.parent == TRACEPARENT.split("-")[2]
    assert turn.parent == api.id
    assert len(chats) == 2
    assert {span.parent for span in (*chats, tool, *appends)} == {turn.id}
    assert appends
    assert api.attributes["outrider.session.id"] == talk.id == turn.attributes["gen_ai.conversation.id"]
    assert api.attributes["http.response.status_code"] == 200
    assert chats[0].attributes["gen_ai.request.model"] == "traced"
    assert chats[0].attributes["gen_ai.usage.output_tokens"] > 0
    assert tool.attributes["gen_ai.tool.name"] == "bash"
    assert not any(span.failed for span in (api, turn, *chats, tool))


def test_the_sdk_joins_its_own_trace_to_the_servers_by_itself(watched: Server, receiver: Receiver) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with watched.client(open_telemetry={"tracer_provider": provider}) as client:
        client.beta.agents.list()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    trace, parent = f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"
    (api,) = receiver.until(lambda spans: [span for span in spans if span.trace == trace])
    assert api.name == "GET /v1/agents"
    assert api.parent == parent


def test_a_turn_that_outlives_its_process_stays_in_its_trace(watched: Server, stage: Stage, receiver: Receiver) -> None:
    trace = "55" * 16
    talk = opened(watched, stage, "trace-restart", Turn(Text(Barrier("trace-restart"), "Done.")))
    send_with(talk, "go", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    stage.arrived("trace-restart")
    os.kill(watched.pids()["server"], signal.SIGKILL)
    stage.arrived("trace-restart", 2)
    stage.release("trace-restart")
    talk.wait()
    (turn,) = receiver.until(lambda spans: [s for s in spans if s.trace == trace and s.name == "invoke_agent"])
    assert turn.attributes["outrider.turn.outcome"] == "end_turn"


def test_the_next_turn_without_a_trace_does_not_join_the_last_one(
    watched: Server, stage: Stage, receiver: Receiver
) -> None:
    stage.put("untraced", Turn("One."), Turn("Two."))
    client = client_of(watched)
    agent = client.beta.agents.create(name="watched", model="untraced")
    environment = client.beta.environments.create(name="tests")
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    talk = Talk(client, session.id)
    other = "11" * 16
    headers = {"traceparent": f"00-{other}-b7ad6b7169203331-01"}
    send_with(talk, "one", **headers)
    talk.wait()
    talk.say("two")
    talk.wait()

    def turns(spans: list[Kept]) -> list[Kept]:
        mine = [s for s in spans if s.name == "invoke_agent" and s.attributes["gen_ai.conversation.id"] == session.id]
        return mine if len(mine) == 2 else []

    assert sorted(span.trace == other for span in receiver.until(turns)) == [False, True]


def test_what_a_client_did_not_sample_is_not_traced(watched: Server, stage: Stage, receiver: Receiver) -> None:
    unsampled = "22" * 16
    worked(watched, stage, "unsampled", traceparent=f"00-{unsampled}-b7ad6b7169203331-00")
    worked(watched, stage, "sampled-after", traceparent=f"00-{'33' * 16}-b7ad6b7169203331-01")
    receiver.until(lambda spans: [s for s in spans if s.trace == "33" * 16 and s.name == "invoke_agent"])
    assert not [span for span in receiver.spans if span.trace == unsampled]


def test_a_malformed_traceparent_is_no_error(watched: Server) -> None:
    for wrong in ("x", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", f"ff-{TRACE}-b7ad6b7169203331-01"):
        client_of(watched).beta.agents.list(extra_headers={"traceparent": wrong})


def test_a_collector_that_is_gone_breaks_nothing_and_delays_no_end(stage: Stage) -> None:
    with data_directory() as data:
        config = '[telemetry]\notlp_endpoint = "http://127.0.0.1:9"\n'
        with serving(data, {"OUTRIDER_MODEL_URL": stage.url}, config=config) as server:
            worked(server, stage, "no-collector")
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(DEADLINE) == 0
        assert "Traceback" not in server.log()


def test_spans_that_wait_are_sent_when_the_server_ends(stage: Stage) -> None:
    with data_directory() as data, Receiver().open() as receiver:
        environment = {"OUTRIDER_MODEL_URL": stage.url, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        with serving(data, environment) as server:
            client_of(server).beta.agents.list(extra_headers={"traceparent": TRACEPARENT})
        assert _by_name(receiver.spans, "GET /v1/agents")


# -- logs


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines()]


def test_every_line_of_a_json_log_is_an_object_with_the_same_facts(watched: Server, stage: Stage) -> None:
    worked(watched, stage, "logged")
    found = lines(watched)
    for line in found:
        assert {"time", "level", "logger", "message", "role", "pid"} <= set(line), line
        assert line["time"].endswith("Z")
    stopped = [line for line in found if line["message"].startswith("not ready")]
    assert all(line["role"] == "server" and line["level"] == "warning" for line in stopped)
    assert [line for line in found if line["message"] == "started" and line["child_role"] == "vault"]


def test_no_secret_and_no_content_is_in_log_metrics_or_traces(
    watched: Server, stage: Stage, receiver: Receiver
) -> None:
    trace = "44" * 16
    worked(watched, stage, "canary", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    receiver.until(lambda spans: [s for s in spans if s.trace == trace and s.name == "invoke_agent"])
    httpx2.get(f"{watched.url}/v1/agents", headers={"authorization": "Bearer canary-wrong-key"}, timeout=DEADLINE)
    told = watched.log() + httpx2.get(metrics_url(watched), timeout=DEADLINE).text
    for canary in (MODEL_KEY, watched.key, WORDS, COMMAND_WORD, "canary-wrong-key", "Bearer"):
        assert canary not in told, canary
        assert canary.encode() not in receiver.raw, canary
