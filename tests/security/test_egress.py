"""The only way out of a sandbox, tried from inside real ones: what gets out, what does not, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from egress_trial import Trial, Web, trial

from outrider.ports.egress import EgressClaim
from outrider.proxy.egress.claims import FILE, Claims
from outrider.proxy.egress.door import Door

pytestmark = pytest.mark.anyio


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
    """A proxy that lets one port of loopback in, where the web server is."""
    room.names = {"web.example": ["127.0.0.1"]}
    async with room.proxy(f"127.0.0.1:{web.port}") as found:
        yield found


async def test_a_sandbox_has_no_network_but_the_proxy(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_alone")
    said = await room.run("sesn_alone", f"curl -sS --noproxy '*' --max-time 5 http://127.0.0.1:{web.port}/ 2>&1; true")
    assert "Couldn't connect" in said or "Failed to connect" in said
    assert "3128" in await room.run("sesn_alone", "cat /proc/net/tcp | grep -c 0C38 >/dev/null; env | grep -i proxy")
    assert not web.seen


async def test_plain_http_goes_out_through_the_proxy(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_plain")
    assert await room.run("sesn_plain", f"curl -sS http://web.example:{web.port}/a?b=c") == "hello from /a?b=c"
    (line,) = await room.lines("sesn_plain", 1)
    assert (line["host"], line["port"], line["verdict"], line["how"]) == ("web.example", web.port, "allowed", "http")
    assert line["received"] == len("hello from /a?b=c\n")


async def test_a_tunnel_carries_bytes_untouched(room: Trial, door: Door, web: Web) -> None:
    room.claim("sesn_tunnel")
    said = await room.run("sesn_tunnel", f"curl -sS -p http://web.example:{web.port}/t")
    assert said == "hello from /t"
    assert (await room.lines("sesn_tunnel", 1))[0]["how"] == "connect"


async def test_a_proxy_that_is_started_again_serves_the_same_sandbox(room: Trial, web: Web) -> None:
    room.names = {"web.example": ["127.0.0.1"]}
    for _ in range(2):
        async with room.proxy(f"127.0.0.1:{web.port}"):
            room.claim("sesn_again")
            assert await room.run("sesn_again", f"curl -sS http://web.example:{web.port}/x") == "hello from /x"


async def test_a_vault_that_is_started_again_knows_what_sessions_may_reach(tmp_path: Path) -> None:
    first = Claims(tmp_path)
    first.note(EgressClaim("sesn_a", 1, "wrkspc_a", {"type": "unrestricted"}))
    first.note(EgressClaim("sesn_a", 2, "wrkspc_a", {"type": "limited", "allowed_hosts": ["a.example"]}))
    first.note(EgressClaim("sesn_b", 1, "wrkspc_a", {"type": "unrestricted"}))
    first.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"session": "sesn_b", "epo')
    again = Claims(tmp_path)
    assert {claim.session: claim.networking["type"] for claim in again.all()} == {
        "sesn_a": "limited",
        "sesn_b": "unrestricted",
    }
    again.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, the tests above run as an ordinary user already")
def test_an_ordinary_users_sandboxes_have_the_same_way_out() -> None:
    runner = Path(__file__).with_name("egress_as_user.py")
    done = subprocess.run([sys.executable, str(runner)], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("hello from /one\nhello from /two\n")
    assert "127.0.0.2 is at a loopback address" in done.stdout
