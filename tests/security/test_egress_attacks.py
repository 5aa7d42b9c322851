"""Attacks on the egress proxy from inside real sandboxes: what its rules are held against, one test a trick."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from egress_trial import Trial, Web, trial

from outrider.proxy.egress.door import Door

pytestmark = pytest.mark.anyio

RAW = """
import base64, socket, sys
link = socket.create_connection(("127.0.0.1", 3128), 10)
link.sendall(base64.b64decode(sys.argv[1]))
link.settimeout(8)
said = b""
try:
    while chunk := link.recv(65536):
        said += chunk
except TimeoutError:
    said += b"(silence)"
except ConnectionError:
    said += b"(reset)"
sys.stdout.write(said.decode("latin-1"))
"""
LIMITED: dict[str, Any] = {"type": "limited", "allowed_hosts": ["web.example", "*.wild.example"]}


@pytest.fixture(scope="module")
async def room(anyio_backend: str) -> AsyncIterator[Trial]:
    async with trial() as found:
        yield found


@pytest.fixture
async def web(anyio_backend: str) -> AsyncIterator[Web]:
    async with Web().serving() as found:
        yield found


@pytest.fixture
async def door(room: Trial, web: Web) -> AsyncIterator[Door]:
    names = ("web.example", "other.example", "wild.example", "a.wild.example", "b.a.wild.example", "xwild.example")
    room.names = {name: ["127.0.0.1"] for name in names}
    async with room.proxy(f"127.0.0.1:{web.port}", connections=8) as found:
        yield found


async def raw(room: Trial, session: str, request: str | bytes) -> str:
    """What the proxy answers to these bytes."""
    sent = base64.b64encode(request.encode("latin-1") if isinstance(request, str) else request).decode()
    return await room.run(session, f"cat > /tmp/raw.py <<'END'\n{RAW}\nEND\npython3 /tmp/raw.py {sent}")


def get(address: str, host: str, *more: str) -> str:
    return "\r\n".join([f"GET {address} HTTP/1.1", f"Host: {host}", *more, "Connection: close", "", ""])


async def test_limited_networking_matches_hosts_exactly_and_wildcards_below(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_rules", LIMITED)
    verdicts: dict[str, str] = {}
    hosts = ("web.example", "WEB.Example.", "a.wild.example", "b.a.wild.example", "wild.example", "xwild.example")
    for host in (*hosts, "other.example", "127.0.0.1", "[::ffff:127.0.0.1]"):
        said = await raw(room, "sesn_rules", get(f"http://{host}:{web.port}/", f"{host}:{web.port}"))
        verdicts[host] = said.split(" ")[1]
    assert verdicts == {
        **dict.fromkeys(hosts[:4], "200"),
        **dict.fromkeys((*hosts[4:], "other.example", "127.0.0.1", "[::ffff:127.0.0.1]"), "403"),
    }


async def test_package_hosts_that_nobody_has_set_are_named_in_the_refusal(room: Trial, door: Door, web: Web) -> None:
    managers = {"type": "limited", "allow_package_managers": True}
    room.claim("sesn_packages", managers)
    said = await raw(room, "sesn_packages", f"CONNECT web.example:{web.port} HTTP/1.1\r\nHost: web.example\r\n\r\n")
    assert said.startswith("HTTP/1.1 403 ")
    assert "[egress.package_hosts]" in said
    room.claim("sesn_packages", managers, packages={"pip": ("web.example",)})
    assert "200" in await room.run("sesn_packages", f"curl -s -o /dev/null -w '%{{http_code}}' web.example:{web.port}")
    room.claim("sesn_packages", {"type": "limited"}, packages={"pip": ("web.example",)})
    assert "403" in await room.run("sesn_packages", f"curl -s -o /dev/null -w '%{{http_code}}' web.example:{web.port}")


PRIVATE = (
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "168.63.129.16", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[ff02::1]", "[::ffff:10.0.0.1]",
    "[::ffff:7f00:1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2001:0:1::1]", "[::127.0.0.1]",
)  # fmt: skip


async def test_private_addresses_are_refused_in_every_spelling(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_private")
    asked = " ".join(f"'{address}'" for address in PRIVATE)
    said = await room.run(
        "sesn_private",
        f"for a in {asked}; do"
        " curl -g -s --noproxy '' -p -o /dev/null -w '%{http_connect} ' \"http://$a:81/\"; done; true",
    )
    assert said.split() == ["403"] * len(PRIVATE)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0x7f.1",
        "127.0.0.1.",
        "127.0.0.01",
        "1",
        "a.0x1",
        "[fe80::1%25lo]",
    ],
)
async def test_an_address_in_another_notation_is_not_let_in(room: Trial, door: Door, web: Web, host: str) -> None:
    room.claim("sesn_notation")
    said = await raw(room, "sesn_notation", f"CONNECT {host}:{web.port + 1} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert said.split(" ")[1] in ("400", "403")
    assert host == "127.0.0.1." or said.startswith("HTTP/1.1 400 ")


async def test_a_name_is_resolved_once_and_its_judged_address_is_connected_to(room: Trial, web: Web) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1", "127.0.0.1"]])

    async def changing(_name: str, _port: int) -> list[str]:
        return next(answers)

    async with room.proxy(f"127.0.0.1:{web.port}", resolve=changing):
        room.claim("sesn_rebind")
        codes = [
            await room.run("sesn_rebind", f"curl -s -o /dev/null -w '%{{http_code}}' http://re.example:{web.port}/")
            for _ in range(3)
        ]
    assert codes == ["200", "403", "200"]
    assert len(web.seen) == 2


async def test_a_redirect_is_judged_anew(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_redirect", LIMITED)
    place = f"http://other.example:{web.port}/secret"
    web.answers[b"/away"] = f"HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n".encode()
    said = await room.run("sesn_redirect", f"curl -sS -L http://web.example:{web.port}/away")
    assert "other.example is not in the environment's config.networking.allowed_hosts" in said
    assert len(web.seen) == 1


@pytest.mark.parametrize(
    ("request_line", "headers"),
    [
        ("GET http://web.example:{port}/ HTTP/1.1", ["Host: other.example:{port}"]),
        ("GET http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "Host: other.example"]),
        ("GET http://web.example:{port}/ HTTP/1.1", ["Host: web.example:1"]),
        ("GET http://user:password@web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET http://web.example:{port}@other.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET http://other.example:{port}\\@web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET http://web.example:{port}/a#b HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET / HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET https://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET ftp://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("GET http://web.example:0/ HTTP/1.1", ["Host: web.example:0"]),
        ("GET http://web.example:99999/ HTTP/1.1", ["Host: web.example:99999"]),
        ("GET http://web..example:{port}/ HTTP/1.1", ["Host: web..example:{port}"]),
        ("GET http://w\xe9b.example:{port}/ HTTP/1.1", ["Host: web.example:{port}"]),
        ("OPTIONS * HTTP/1.1", ["Host: web.example:{port}"]),
        ("CONNECT web.example:{port} HTTP/1.1", ["Host: other.example:{port}"]),
        ("CONNECT web.example HTTP/1.1", ["Host: web.example"]),
        ("CONNECT user@web.example:{port} HTTP/1.1", ["Host: web.example"]),
        ("CONNECT http://web.example:{port}/ HTTP/1.1", ["Host: web.example"]),
        ("POST http://web.example:{port}/ HTTP/1.1",
         ["Host: web.example:{port}", "Content-Length: 4", "Transfer-Encoding: chunked"]),
        ("POST http://web.example:{port}/ HTTP/1.1",
         ["Host: web.example:{port}", "Content-Length: 4", "Content-Length: 5"]),
        ("POST http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "Transfer-Encoding: gzip, chunked"]),
        ("POST http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "Transfer-Encoding: xchunked"]),
        ("POST http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "Transfer-Encoding : chunked"]),
        ("POST http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "Content-Length: +4"]),
        ("POST http://web.example:{port}/ HTTP/1.0", ["Host: web.example:{port}", "Transfer-Encoding: chunked"]),
        ("GET http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", "X: a\x00b"]),
        ("GET http://web.example:{port}/ HTTP/1.1", ["Host: web.example:{port}", " folded: header"]),
        ("GET http://web.example:{port}/ HTTP/2.0", ["Host: web.example:{port}"]),
        ("GET http://web.example:{port}/ x HTTP/1.1", ["Host: web.example:{port}"]),
    ],
)  # fmt: skip
async def test_what_could_be_read_in_two_ways_is_refused(
    room: Trial, door: Door, web: Web, request_line: str, headers: list[str]
) -> None:
    room.claim("sesn_two")
    lines = [line.format(port=web.port) for line in (request_line, *headers)]
    said = await raw(room, "sesn_two", "\r\n".join([*lines, "", "0\r\n\r\n"]))
    assert said.split(" ")[1] in ("400", "501", "505"), said
    assert not web.seen


async def test_what_follows_a_request_is_another_request_and_judged_as_such(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_pipeline", LIMITED)
    first = f"GET http://web.example:{web.port}/one HTTP/1.1\r\nHost: web.example:{web.port}\r\n\r\n"
    second = get(f"http://other.example:{web.port}/two", f"other.example:{web.port}")
    said = await raw(room, "sesn_pipeline", first + second)
    assert "hello from /one" in said
    assert "HTTP/1.1 403 " in said
    assert [head.split(b" ")[1] for head in web.seen] == [b"/one"]


async def test_hop_by_hop_headers_stay_behind(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_hops")
    asked = get(
        f"http://web.example:{web.port}/..;/a%2f..%2f", f"web.example:{web.port}",
        "Proxy-Authorization: Basic x", "Proxy-Connection: keep-alive", "X-Named: 1", "Connection: x-named", "TE: gzip",
    )  # fmt: skip
    assert "hello from /..;/a%2f..%2f" in await raw(room, "sesn_hops", asked)
    (head,) = web.seen
    assert not [word for word in (b"proxy", b"x-named", b"\r\nte:") if word in head.lower()]


async def test_a_head_that_is_too_long_is_refused(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_long")
    filler = f"for i in range(3000): print('X-{{}}: {'a' * 60}'.format(i), end='\\r\\n')"
    command = (
        f"(printf 'GET http://web.example:{web.port}/ HTTP/1.1\\r\\nHost: web.example\\r\\n'; python3 -c \"{filler}\";"
        " printf '\\r\\n') | timeout 10 curl -s telnet://127.0.0.1:3128 --noproxy '*' | head -c 200; true"
    )
    assert "HTTP/1.1 431 " in await room.run("sesn_long", command)
    assert not web.seen


async def test_a_session_has_a_bounded_number_of_connections(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_many")
    script = (
        "import socket\n"
        "links = [socket.create_connection(('127.0.0.1', 3128), 5) for _ in range(9)]\n"
        "links[-1].settimeout(5); print(links[-1].recv(4096).decode())"
    )
    said = await room.run("sesn_many", f'python3 -c "{script}"')
    assert said.startswith("HTTP/1.1 503 ")
    assert "8 connections open ([egress] connections)" in said
    room.claim("sesn_other")
    assert "hello" in await room.run("sesn_other", f"curl -sS http://web.example:{web.port}/")


async def test_without_its_owners_word_a_session_reaches_nothing(room: Trial, door: Door, web: Web) -> None:
    said = await room.run("sesn_unclaimed", f"curl -s http://web.example:{web.port}/")
    assert "not known yet" in said
    assert not web.seen


async def test_a_user_can_hand_over_no_listener_but_of_a_session_of_its_own(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_mine")
    await room.run("sesn_mine", "true")
    loop = asyncio.get_running_loop()
    others = ["sesn_mine"] if os.geteuid() == 0 else []  # as root its sandbox belongs to a user of its own
    for session in ("sesn_nobodys", "../sesn_mine", *others):
        with socket.socket() as listener, socket.socket(socket.AF_UNIX) as link:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            link.setblocking(False)
            await loop.sock_connect(link, str(room.host.egress))
            socket.send_fds(link, [json.dumps({"session": session}).encode() + b"\n"], [listener.fileno()])
            async with asyncio.timeout(10):
                assert await loop.sock_recv(link, 100) == b""
    assert "hello" in await room.run("sesn_mine", f"curl -sS http://web.example:{web.port}/")


async def test_tunnels_are_closed_when_nothing_moves(room: Trial, web: Web) -> None:
    room.names = {"web.example": ["127.0.0.1"]}
    async with room.proxy(f"127.0.0.1:{web.port}", idle=0.3):
        room.claim("sesn_idle")
        said = await raw(room, "sesn_idle", f"CONNECT web.example:{web.port} HTTP/1.1\r\nHost: web.example\r\n\r\n")
    assert said == "HTTP/1.1 200 Connection established\r\n\r"


async def test_each_sandbox_has_a_way_of_its_own_that_it_cannot_take_over(room: Trial, door: Door, web: Web) -> None:
    """Two sessions ask by the same address, and each is known by its own listener, whatever it says of itself."""
    room.claim("sesn_narrow", {"type": "limited", "allowed_hosts": ["other.example"]})
    room.claim("sesn_wide", LIMITED)
    asked = get(f"http://web.example:{web.port}/x", f"web.example:{web.port}", "X-Session: sesn_wide")
    assert (await raw(room, "sesn_narrow", asked)).startswith("HTTP/1.1 403 ")
    assert (await raw(room, "sesn_wide", asked)).startswith("HTTP/1.1 200 ")
    taking = (
        "import socket; s = socket.socket(); s.setsockopt(1, 2, 1); s.setsockopt(1, 15, 1); s.bind(('127.0.0.1', 3128))"
    )
    assert "Address already in use" in await room.run("sesn_narrow", f'python3 -c "{taking}" 2>&1; true')


async def test_a_line_break_in_a_header_is_not_passed_on(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_crlf")
    for odd in ("X: a\rInjected: 1", "X: a\nInjected: 1", "X\r: a", "\rX: a"):
        said = await raw(room, "sesn_crlf", get(f"http://web.example:{web.port}/", f"web.example:{web.port}", odd))
        passed = b"".join(web.seen).lower()
        assert said.startswith("HTTP/1.1 400 ") or b"\r\ninjected: 1" in passed, odd
        assert b"\rinjected" not in passed.replace(b"\r\n", b"")
