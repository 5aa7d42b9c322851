"""Credentials that commands use without seeing them: where the secret goes, where it does not, and what comes back."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from egress_trial import Trial, Web, trial
from egress_vault import credential, guarded

from outrider.vault.audit import FILE

pytestmark = pytest.mark.anyio

SECRET = 'canary-4f/9a+77 e1"d24c6b'


@pytest.fixture(scope="module")
async def room(anyio_backend: str) -> AsyncIterator[Trial]:
    async with trial() as found:
        yield found


@pytest.fixture
async def web(room: Trial, tmp_path: Path) -> AsyncIterator[Web]:
    secrets = {"API_TOKEN": SECRET, "OTHER": "another-canary-00"}
    async with guarded(room, tmp_path, secrets, "api.example", "other.example") as found:
        yield found


async def test_the_sandbox_holds_a_placeholder_and_trusts_the_deployments_authority(room: Trial, web: Web) -> None:
    room.claim("sesn_held", credentials=[credential()])
    said = await room.run("sesn_held", "echo $API_TOKEN; env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; true")
    assert said.startswith("outr_secret_")
    assert SECRET not in said
    assert "SSL_CERT_FILE=/etc/outrider/ca.pem" in said
    again = await room.run("sesn_held", "echo $API_TOKEN; ! echo x >> /etc/outrider/ca.pem")
    assert again.splitlines()[0] == said.splitlines()[0]
    room.claim("sesn_elsewhere", credentials=[credential()])
    assert (await room.run("sesn_elsewhere", "echo $API_TOKEN")).strip() != said.splitlines()[0]
    room.claim("sesn_held")
    assert await room.run("sesn_held", "echo ${API_TOKEN-gone} ${SSL_CERT_FILE-gone}") == "gone gone"


async def test_the_secret_takes_the_placeholders_place_in_headers_basic_auth_and_bodies(
    room: Trial, web: Web, tmp_path: Path
) -> None:
    room.claim("sesn_swap", credentials=[credential()])
    url = f"https://api.example:{web.port}"
    command = (
        f'curl -sS -H "X-Key: a $API_TOKEN b" -u "user:$API_TOKEN" -d "k=$API_TOKEN&l=1" {url}/one'
        f' && (head -c 70000 /dev/zero; echo -n "$API_TOKEN") | curl -sS -T - {url}/two'
        f' && (head -c 2000000 /dev/zero; echo -n "$API_TOKEN") > /tmp/f && curl -sS --data-binary @/tmp/f {url}/three'
        f' && curl -sS "{url}/four?q=$API_TOKEN"'
    )
    said = await room.run("sesn_swap", command)
    assert [line[:16] for line in said.split("hello from ")[1:]] == ["/one\n", "/two\n", "/three\n", "/four?q=outr_sec"]
    head = web.seen[0].decode()
    assert f"x-key: a {SECRET} b" in head.lower() or f"X-Key: a {SECRET} b" in head
    assert base64.b64encode(f"user:{SECRET}".encode()).decode() in head
    assert web.bodies[0] == f"k={SECRET}&l=1".encode()
    assert web.bodies[1] == bytes(70000) + SECRET.encode()
    assert web.bodies[2] == bytes(2000000) + SECRET.encode()
    assert SECRET.encode() not in web.seen[3]
    assert SECRET not in said
    lines = await room.lines("sesn_swap", 4)
    assert [line["how"] for line in lines] == ["terminated"] * 4
    assert SECRET not in str(lines)
    audit = (tmp_path / FILE).read_text()
    assert audit.count("vcrd_API_TOKEN") == 3
    assert SECRET not in audit


async def test_python_and_git_trust_it_too(room: Trial, web: Web) -> None:
    room.claim("sesn_clients", credentials=[credential()])
    script = (
        "import os, urllib.request as u; "
        f"r = u.Request('https://api.example:{web.port}/py', headers={{'X': os.environ['API_TOKEN']}}); "
        "print(u.urlopen(r).read())"
    )
    assert "hello from /py" in await room.run("sesn_clients", f'python3 -c "{script}"')
    assert SECRET.encode() in web.seen[0]


async def test_what_a_service_echoes_is_masked_where_it_can_be_seen(room: Trial, web: Web) -> None:
    room.claim("sesn_echo", credentials=[credential()])
    sent = '-H "X: $API_TOKEN" -u "u:$API_TOKEN" --compressed --data-binary "$API_TOKEN"'
    said = await room.run("sesn_echo", f"curl -sS {sent} https://api.example:{web.port}/echo")
    assert SECRET.encode() in web.seen[0]
    assert SECRET not in said
    assert base64.b64encode(f"u:{SECRET}".encode()).decode() not in said
    assert "*" * len(SECRET) in said


async def test_locations_and_hosts_that_a_credential_is_not_for_get_the_placeholder_as_it_is(
    room: Trial, web: Web
) -> None:
    room.claim("sesn_where", credentials=[credential(body=False), credential("OTHER", header=False)])
    sent = '-H "X: $API_TOKEN $OTHER" -d "$API_TOKEN $OTHER"'
    await room.run("sesn_where", f"curl -sS {sent} https://api.example:{web.port}/a")
    assert SECRET.encode() in web.seen[0]
    assert b"another-canary" not in web.seen[0]
    assert SECRET.encode() not in web.bodies[0]
    assert b"another-canary-00" in web.bodies[0]
    await room.run("sesn_where", f"curl -sSk {sent} https://other.example:{web.port}/b")
    assert (await room.lines("sesn_where", 2))[-1]["how"] == "connect"
    assert SECRET.encode() not in web.seen[-1] + web.bodies[-1]
    assert b"outr_secret_" in web.seen[-1]


async def test_another_sessions_placeholder_is_worth_nothing(room: Trial, web: Web) -> None:
    room.claim("sesn_owner", credentials=[credential()])
    stolen = (await room.run("sesn_owner", "echo $API_TOKEN")).strip()
    room.claim("sesn_thief", credentials=[credential()])
    await room.run("sesn_thief", f'curl -sS -H "X: {stolen}" https://api.example:{web.port}/a')
    assert stolen.encode() in web.seen[0]
    assert SECRET.encode() not in web.seen[0]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("-H 'Host: other.example'", "400"),
        ("--request-target 'http://other.example/x'", "400"),
        ("--connect-to other.example:{port}:api.example:{port} https://other.example:{port}/x", "000"),
        ("-H 'Transfer-Encoding: chunked' -H 'Content-Length: 3' -d abc", "400"),
    ],
)
async def test_a_tunnel_to_one_host_carries_requests_to_that_host_alone(
    room: Trial, web: Web, how: str, code: str
) -> None:
    room.claim("sesn_alone", credentials=[credential()])
    url = "" if "https://" in how else f"https://api.example:{web.port}/x"
    options = how.format(port=web.port)
    command = f"curl -sk -o /dev/null -w '%{{http_code}}' -H \"X: $API_TOKEN\" {options} {url}; true"
    assert (await room.run("sesn_alone", command)).strip() == code
    assert not web.seen


async def test_a_host_that_cannot_prove_itself_gets_nothing(room: Trial, web: Web) -> None:
    unproven: dict[str, Any] = {"type": "limited", "allowed_hosts": ["127.0.0.1"]}
    room.claim("sesn_unproven", credentials=[credential(networking=unproven)])
    command = f"curl -sS --noproxy '' -H \"X: $API_TOKEN\" https://127.0.0.1:{web.port}/x"
    said = await room.run("sesn_unproven", command)
    assert "the certificate of 127.0.0.1 can't be verified" in said
    assert not web.seen


async def test_a_secret_that_is_gone_stops_the_request(room: Trial, web: Web) -> None:
    room.claim("sesn_gone", credentials=[credential("PURGED")])
    said = await room.run("sesn_gone", f'curl -sS -H "X: $PURGED" https://api.example:{web.port}/x')
    assert "the secret of PURGED can't be had" in said
    assert not web.seen


async def test_plain_http_carries_no_secret(room: Trial, web: Web) -> None:
    async with Web().serving() as plain:
        room.claim("sesn_plain", credentials=[credential()])
        said = await room.run("sesn_plain", f'curl -sS -H "X: $API_TOKEN" http://api.example:{plain.port}/x; true')
        assert "loopback" in said  # the proxy lets the other server's port in only
