"""The vault's model proxy, through its socket, before a server that answers with raw bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2
import pytest
from vault_process import KEY, Seen, Vault, endpoint, response, running_upstream, running_vault

from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.links.vault import BASE_URL

DEADLINE = 20.0
pytestmark = pytest.mark.anyio

Writer = asyncio.StreamWriter


async def say_ok(_: Seen, writer: Writer) -> None:
    writer.write(response(b'{"ok":true}'))


@asynccontextmanager
async def client_of(vault: Vault, name: str = "far") -> AsyncGenerator[httpx2.AsyncClient]:
    """A client that sends what the model client sends."""
    async with vault.link() as link:
        headers = {ENDPOINT_HEADER: name, CAPABILITY_HEADER: await link.capability("sesn_1", 1, name)}
        async with httpx2.AsyncClient(
            transport=link.transport(), base_url=BASE_URL, timeout=DEADLINE, headers=headers
        ) as client:
            yield client


async def messages(vault: Vault, name: str = "far", path: str = "/v1/messages", **more: str) -> httpx2.Response:
    async with client_of(vault, name) as client:
        return await client.post(path, content=b'{"a":1}', headers=more)


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [("x-api-key", "x-api-key", KEY), ("bearer", "authorization", f"Bearer {KEY}")],
)
async def test_a_request_leaves_with_the_endpoints_key_in_place_of_the_clients_credentials(
    auth: str, name: str, value: str
) -> None:
    async with running_upstream(say_ok) as upstream:
        with running_vault(endpoint("far", upstream.url, auth)) as vault:
            sent = {
                "x-api-key": "mine",
                "authorization": "Bearer mine",
                "cookie": "mine",
                "proxy-authorization": "mine",
            }
            answer = await messages(vault, path="/v1/messages?beta=true", **sent, **{"anthropic-beta": "b1"})
        (seen,) = upstream.seen
    assert answer.json() == {"ok": True}
    assert seen.line == "POST /v1/messages?beta=true HTTP/1.1"
    assert seen.body == b'{"a":1}'
    assert seen.headers["anthropic-beta"] == "b1"
    assert seen.headers[name] == value
    assert "mine" not in str(seen.headers)
    assert not [header for header in seen.headers if header.startswith("x-outrider")]


async def test_an_endpoint_without_a_key_gets_no_credentials_at_all() -> None:
    async with running_upstream(say_ok) as upstream:
        with running_vault(endpoint("near", upstream.url, "none")) as vault:
            await messages(vault, "near", **{"x-api-key": "mine", "authorization": "Bearer mine"})
        assert not {"x-api-key", "authorization"} & set(upstream.seen[0].headers)


async def test_the_base_urls_own_path_is_kept() -> None:
    async with running_upstream(say_ok) as upstream:
        with running_vault(endpoint("far", f"{upstream.url}/api/anthropic")) as vault:
            await messages(vault)
        assert upstream.seen[0].line == "POST /api/anthropic/v1/messages HTTP/1.1"


async def test_a_model_on_this_host_is_reached_directly_whatever_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_upstream(say_ok) as elsewhere, running_upstream(say_ok) as upstream:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        with running_vault(endpoint("far", upstream.url)) as vault:
            assert (await messages(vault)).status_code == 200
        assert elsewhere.seen == []


async def test_a_model_elsewhere_is_asked_through_the_proxy_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_upstream(say_ok) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        with running_vault(endpoint("far", "http://model.invalid")) as vault:
            assert (await messages(vault)).status_code == 200
        assert proxy.seen[0].line == "POST http://model.invalid/v1/messages HTTP/1.1"


async def test_a_streams_first_bytes_arrive_before_its_last_are_written() -> None:
    arrived = asyncio.Event()

    async def in_two_parts(_: Seen, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"7\r\nfirst\n\n\r\n")
        await asyncio.wait_for(arrived.wait(), DEADLINE)
        writer.write(b"6\r\nlast\n\n\r\n0\r\n\r\n")

    async with running_upstream(in_two_parts) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            async with (
                client_of(vault) as client,
                client.stream("POST", "/v1/messages", content=b"{}") as answer,
            ):
                parts: list[bytes] = []
                async for part in answer.aiter_raw():
                    parts.append(part)
                    arrived.set()
            assert parts == [b"first\n\n", b"last\n\n"]


async def test_a_key_that_an_upstream_sends_back_is_masked_wherever_chunks_break() -> None:
    async def echo(_: Seen, writer: Writer) -> None:
        body = f"no such key: {KEY}!".encode()
        head = f"HTTP/1.1 401 Unauthorized\r\ncontent-length: {len(body)}\r\nx-echo: {KEY}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + body[:20])
        await writer.drain()
        writer.write(body[20:])

    async with running_upstream(echo) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            answer = await messages(vault)
    assert answer.status_code == 401
    assert answer.text == f"no such key: {'*' * len(KEY)}!"
    assert answer.headers["x-echo"] == "*" * len(KEY)


async def test_an_upstream_that_can_not_be_reached_is_a_502_that_names_its_host_and_no_key() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with running_vault(endpoint("far", url)) as vault:
            answer = await messages(vault)
    assert answer.status_code == 502
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "api_error"
    assert "127.0.0.1" in answer.json()["error"]["message"]
    assert KEY not in answer.text


async def test_a_redirect_is_refused_and_the_key_goes_nowhere_else() -> None:
    async def redirect(_: Seen, writer: Writer) -> None:
        writer.write(response(b"", "307 Temporary Redirect", f"location: {elsewhere.url}/v1/messages"))

    async with running_upstream(say_ok) as elsewhere, running_upstream(redirect) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            answer = await messages(vault)
        assert answer.status_code == 502
        assert "location" not in answer.headers
        assert elsewhere.seen == []


async def test_an_answer_in_an_encoding_that_hides_its_text_is_refused() -> None:
    async def packed(_: Seen, writer: Writer) -> None:
        writer.write(response(b"xx", "200 OK", "content-encoding: gzip"))

    async with running_upstream(packed) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            assert (await messages(vault)).status_code == 502
        assert upstream.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages/batches", "/v1/messages/../files", "/v2", "//v1/messages"])
async def test_only_the_paths_of_the_messages_api_are_let_through(path: str) -> None:
    async with running_upstream(say_ok) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            answer = await messages(vault, path=path)
        assert answer.status_code == 404
        assert upstream.seen == []


async def test_a_stream_that_breaks_off_upstream_is_broken_for_the_client_too() -> None:
    async def half(_: Seen, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with running_upstream(half) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            with pytest.raises(httpx2.RemoteProtocolError):
                await messages(vault)


async def test_a_client_that_leaves_closes_the_connection_to_the_upstream() -> None:
    async def endless(seen: Seen, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.wait_for(seen.left.wait(), DEADLINE)

    async with running_upstream(endless) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            async with (
                client_of(vault) as client,
                client.stream("POST", "/v1/messages", content=b"{}") as answer,
            ):
                assert await anext(answer.aiter_raw()) == b"hello"
            await asyncio.wait_for(upstream.seen[0].left.wait(), DEADLINE)


async def test_a_vault_killed_in_mid_stream_breaks_the_stream_and_the_next_request_works() -> None:
    async def endless(seen: Seen, writer: Writer) -> None:
        if len(upstream.seen) > 1:
            return await say_ok(seen, writer)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.wait_for(seen.left.wait(), DEADLINE)

    async with running_upstream(endless) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            async with client_of(vault) as client:
                async with client.stream("POST", "/v1/messages", content=b"{}") as answer:
                    body = answer.aiter_raw()
                    assert await anext(body) == b"hello"
                    vault.kill()
                    with pytest.raises(httpx2.TransportError):
                        await anext(body)
                vault.start()
                again = await client.post("/v1/messages", content=b"{}")
    assert again.json() == {"ok": True}
