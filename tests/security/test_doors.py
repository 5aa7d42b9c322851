"""The public port: by which names and from which pages it may be used, how often, and over TLS with the SDK."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import anthropic
import httpx2
import pytest
from live_server import Server, data_directory, serving
from people import done, headers
from pki import Authority
from sdk_clients import sdk_client
from workers import environment_of

from conformance.requirements import requirement
from outrider.api.app import ROUTES
from outrider.api.rates import Counted, Rates
from outrider.clock import ManualClock
from outrider.config import HOSTED_RATES, RateLimits, load
from outrider.errors import InvalidRequest, RateLimited

CONFIG = """
[server]
allowed_hosts = ["agents.example"]
cors_origins = ["https://app.example"]

[rate_limits]
creates = 3
reads = 100
"""
PAGE = "https://app.example"


@pytest.fixture(scope="module")
def server() -> Generator[Server]:
    with data_directory() as data, serving(data, {}, config=CONFIG) as server:
        yield server


def ask(server: Server, **more: str) -> httpx2.Response:
    told = headers(server.key) | {name.replace("_", "-"): value for name, value in more.items()}
    return httpx2.get(f"{server.url}/v1/agents", headers=told)


@pytest.mark.parametrize(
    "host", ["rebound.evil.example", "evil.example:8400", "agents.example.evil.example", "0x7f.1", ""]
)
def test_a_request_by_a_name_that_is_not_the_servers_is_refused(server: Server, host: str) -> None:
    answer = ask(server, host=host)
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    assert "server.allowed_hosts" in answer.json()["error"]["message"]
    assert answer.headers["request-id"] == answer.json()["request_id"]
    assert httpx2.get(f"{server.url}/readyz", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "host", ["agents.example", "AGENTS.example:443", "127.0.0.1:9", "[::1]:8400", "localhost:8400", "10.1.2.3"]
)
def test_its_own_names_and_addresses_are_taken(server: Server, host: str) -> None:
    assert ask(server, host=host).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example:8443", "null"])
def test_pages_of_other_origins_are_refused_and_told_nothing(server: Server, origin: str) -> None:
    preflight = {"origin": origin, "access-control-request-method": "POST"}
    answers = [ask(server, origin=origin), httpx2.options(f"{server.url}/v1/agents", headers=preflight)]
    for answer in answers:
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_listed_page_may_ask_and_read_the_answers(server: Server) -> None:
    wanted = "authorization, anthropic-beta, anthropic-version, content-type, x-stainless-lang"
    preflight = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": wanted,
    }
    told = httpx2.options(f"{server.url}/v1/agents", headers=preflight)
    assert told.status_code == 200
    assert told.headers["access-control-allow-origin"] == PAGE
    assert "POST" in told.headers["access-control-allow-methods"]
    assert told.headers["access-control-allow-headers"] == wanted
    answer = ask(server, origin=PAGE)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "request-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    refused = httpx2.get(f"{server.url}/v1/agents", headers={"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


def test_a_page_of_the_server_itself_may_ask(server: Server) -> None:
    assert ask(server, origin=server.url).status_code == 200
    assert ask(server, origin="https://agents.example", host="127.0.0.1:8400").status_code == 200


@requirement("transport:rate:create", "errors:429")
def test_over_its_rate_a_workspace_is_told_when_to_come_back_and_others_are_not(server: Server) -> None:
    done(server.data, "workspaces", "create", "busy")
    key = done(server.data, "keys", "create", "busy", "--workspace", "busy")
    client, other = sdk_client(server.url, key), sdk_client(server.url, server.key)
    for _ in range(3):
        client.beta.environments.create(name="within")
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.beta.environments.create(name="beyond")
    assert caught.value.type == "rate_limit_error"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20
    assert "x-should-retry" not in caught.value.response.headers
    assert len(list(client.beta.environments.list())) == 3
    other.beta.environments.create(name="of another workspace")


@requirement("transport:rate:read")
def test_reads_have_a_rate_of_their_own_which_fills_again() -> None:
    clock = ManualClock()
    rates = Rates(RateLimits(reads=60), clock)
    for _ in range(60):
        rates.take("wrkspc_a", "reads")
    with pytest.raises(RateLimited) as caught:
        rates.take("wrkspc_a", "reads")
    assert caught.value.retry_after == pytest.approx(1.0)
    free: list[tuple[str, Counted]] = [("wrkspc_a", "creates"), ("wrkspc_a", "free"), ("wrkspc_b", "reads")]
    for workspace, counted in free:
        rates.take(workspace, counted)
    clock.advance(1.001)
    rates.take("wrkspc_a", "reads")
    with pytest.raises(RateLimited):
        rates.take("wrkspc_a", "reads")
    clock.advance(3600)
    for _ in range(60):
        rates.take("wrkspc_a", "reads")
    with pytest.raises(RateLimited):
        rates.take("wrkspc_a", "reads")


def test_streams_and_workers_do_not_count_and_whatever_is_made_counts_as_that() -> None:
    for route in ROUTES:
        if "stream" in route.path or route.handler.__name__ in ("poll", "ack", "heartbeat", "stop"):
            assert route.counted == "free"
        elif route.method == "GET":
            assert route.counted == "reads"
        else:
            makes = route.handler.__name__ in ("create", "create_session", "create_version", "run", "upload")
            assert route.counted == ("creates" if makes else "changes")


def test_one_setting_gives_the_hosted_figures(tmp_path: Path) -> None:
    def rates(text: str) -> RateLimits:
        (tmp_path / "config.toml").write_text(text)
        return load({}, data=tmp_path).rate_limits

    assert rates("") == RateLimits(None, None, None)
    assert rates("[rate_limits]\nhosted = true") == HOSTED_RATES == RateLimits(300, 1200, None)
    assert rates("[rate_limits]\nhosted = true\nreads = 5\nchanges = 7") == RateLimits(300, 5, 7)
    for wrong in ("hosted = 1", "creates = 0", "reads = true", "others = 3"):
        with pytest.raises(InvalidRequest, match="rate_limits"):
            rates(f"[rate_limits]\n{wrong}")


def test_names_and_origins_are_exact(tmp_path: Path) -> None:
    wrong = [
        'allowed_hosts = ["agents.example:8400"]',
        'allowed_hosts = ["https://agents.example"]',
        'allowed_hosts = "agents.example"',
        'cors_origins = ["*"]',
        'cors_origins = ["https://*.example"]',
        'cors_origins = ["https://app.example/"]',
    ]
    for line in wrong:
        (tmp_path / "config.toml").write_text(f"[server]\n{line}")
        with pytest.raises(InvalidRequest, match=line.split()[0]):
            load({}, data=tmp_path)


def test_the_sdk_speaks_to_the_public_port_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusting the certificate's authority as the SDK's users do, by a variable."""
    with data_directory() as data:
        pki = Authority(data.parent / "pki")
        pki.issue("public", "api")
        cert, key = pki.place / "public.pem", pki.place / "public.key"
        for place in (pki.place, cert, key):
            place.chmod(0o755)  # the server's user reads them
        monkeypatch.setenv("SSL_CERT_FILE", str(pki.place / "ca.pem"))
        options = ("--host", "0.0.0.0", "--tls-cert", str(cert), "--tls-key", str(key))
        with serving(data, {}, *options) as server:
            assert server.url.startswith("https://")
            with server.client() as client:
                agent = client.beta.agents.create(name="over TLS", model="scripted/demo").id
                place = client.beta.environments.create(name="over TLS").id
                session = client.beta.sessions.create(agent=agent, environment_id=place).id
                with client.beta.sessions.events.stream(session) as stream:
                    client.beta.sessions.delete(session)
                    assert [event.type for event in stream] == ["session.deleted"]
            monkeypatch.delenv("SSL_CERT_FILE")
            with server.client() as stranger, pytest.raises(anthropic.APIConnectionError):
                stranger.beta.agents.list()


@requirement("work:rates")
def test_polls_and_heartbeats_of_workers_do_not_count(server: Server) -> None:
    done(server.data, "workspaces", "create", "working")
    admin = sdk_client(
        server.url, done(server.data, "keys", "create", "w", "--scope", "admin", "--workspace", "working")
    )
    environment = environment_of(admin)
    key = done(server.data, "keys", "environment", environment, "--workspace", "working")
    work = sdk_client(server.url, key).beta.environments.work
    for _ in range(150):  # reads are limited to 100 a minute
        assert work.poll(environment) is None
    with pytest.raises(anthropic.NotFoundError):
        work.heartbeat("work_unknown", environment_id=environment)
