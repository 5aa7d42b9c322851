"""What travels through the proxy where it ends TLS, and how much: compressed, large, upgraded, streamed, malformed."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from egress_trial import Trial, Web, body_of, trial
from egress_vault import credential, guarded

pytestmark = pytest.mark.anyio

SECRET = "canary-c81f0be2d94a7735"
SIZE = 100_000_000
GROWTH = 48_000  # kB that client, proxy and server, the latter two in this process, may take while 100 MB pass
ODD = {
    b"/two-lengths": b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    b"/split": b"x: a\rb\r\n\r\n",
    b"/folded": b" x: a\r\ncontent-length: 0\r\n\r\n",
    b"/no-hex": b"transfer-encoding: chunked\r\n\r\nxyz\r\n\r\n",
}


class Many(Web):
    """Also takes and gives much, changes to another protocol, answers while it is asked, and answers nonsense."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.seen.append(head := await reader.readuntil(b"\r\n\r\n"))
            path = head.split(b" ")[1]
            if path in ODD:
                writer.write(b"HTTP/1.1 200 OK\r\n" + ODD[path])
            elif path == b"/sink":
                await self._take(reader)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            elif path == b"/source":
                await _give(writer)
            elif path == b"/both":
                await _talk(reader, writer)
            elif path == b"/keep":
                self.bodies.append(await body_of(head, reader))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nfirst ")
                while data := await reader.read(1000):
                    writer.write(data.upper())
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> None:
        """A chunked body, counted and not kept."""
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
            self.taken += size
        await reader.readline()


async def _give(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE)
    for _ in range(SIZE // 100_000):
        writer.write(bytes(100_000))
        await writer.drain()


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each chunk when it comes, before the request is whole."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while size := int(await reader.readline(), 16):
        said = (await reader.readexactly(size + 2))[:-2].upper()
        writer.write(b"%x\r\n%s\r\n" % (len(said), said))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


@pytest.fixture(scope="module")
async def room(anyio_backend: str) -> AsyncIterator[Trial]:
    async with trial() as found:
        yield found


@pytest.fixture(scope="module")
async def many(room: Trial, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Many]:
    found = Many()
    secrets = {"API_TOKEN": SECRET}
    async with guarded(room, tmp_path_factory.mktemp("vault"), secrets, "api.example", "big.example", web=found):
        room.claim("sesn_many", credentials=[credential()])
        yield found


def peak() -> int:
    """The most memory that this process has had since `forget_peak`, in kB."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def forget_peak() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


@pytest.mark.parametrize("host", ["api.example", "big.example"])
async def test_100_mb_pass_both_ways_in_bounded_memory(room: Trial, many: Many, host: str) -> None:
    many.taken = 0
    before = forget_peak()
    url = f"https://{host}:{many.port}"
    up = f'(head -c {SIZE} /dev/zero; echo -n "$API_TOKEN") | curl -sSk -T - {url}/sink'
    assert await room.run("sesn_many", f"{up} && curl -sSk {url}/source | wc -c") == str(SIZE)
    held = SECRET if host == "api.example" else await room.run("sesn_many", "echo -n $API_TOKEN")
    assert many.taken == SIZE + len(held)
    assert peak() - before < GROWTH


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_a_placeholder_in_a_compressed_body_is_replaced(
    room: Trial, many: Many, encoding: str, size: int
) -> None:
    packing = "gzip.compress" if encoding == "gzip" else "zlib.compress"
    script = (
        "import gzip, os, random, sys, zlib; noise = random.Random(1).randbytes;"
        f"data = noise({size}) + os.environ['API_TOKEN'].encode() + noise({size});"
        f"sys.stdout.buffer.write({packing}(data))"
    )
    sending = f"curl -sS -H 'Content-Encoding: {encoding}' --data-binary @/tmp/z https://api.example:{many.port}/keep"
    assert await room.run("sesn_many", f'python3 -c "{script}" > /tmp/z && {sending}') == "(no output)"
    unpacked = (gzip.decompress if encoding == "gzip" else zlib.decompress)(many.bodies[-1])
    assert unpacked[size:-size] == SECRET.encode()


async def test_a_body_of_several_gzip_members_is_swapped_across_them(room: Trial, many: Many) -> None:
    script = (
        "import gzip, os, sys; held = os.environ['API_TOKEN'].encode();"
        "sys.stdout.buffer.write(gzip.compress(b'a' + held[:9]) + gzip.compress(held[9:] + b'z'))"
    )
    sending = f"curl -sS -H 'Content-Encoding: gzip' --data-binary @- https://api.example:{many.port}/keep"
    await room.run("sesn_many", f'python3 -c "{script}" | {sending}')
    assert gzip.decompress(many.bodies[-1]) == b"a" + SECRET.encode() + b"z"


async def test_a_compressed_body_that_unpacks_to_too_much_is_refused(room: Trial, many: Many) -> None:
    before = forget_peak()
    sending = f"curl -sS -H 'Content-Encoding: gzip' --data-binary @- https://api.example:{many.port}/keep"
    said = await room.run("sesn_many", f"head -c 300000000 /dev/zero | gzip | {sending}")
    assert "unpacks to too much" in said
    assert "is not in its Content-Encoding" in await room.run("sesn_many", f"echo plain | {sending}")
    assert "has no end" in await room.run("sesn_many", f"echo whole | gzip | head -c 20 | {sending}")
    assert peak() - before < GROWTH


async def test_a_placeholder_is_replaced_wherever_its_pieces_break(room: Trial, many: Many) -> None:
    script = """
import http.client, os, ssl
held = os.environ['API_TOKEN'].encode()
link = http.client.HTTPSConnection('127.0.0.1', 3128)
link.set_tunnel('api.example', PORT)
pieces = (b'<', *(bytes([one]) for one in held), b'>')
link.request('POST', '/keep', body=iter(pieces), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
print(link.getresponse().status)
"""
    assert await run_script(room, script, many.port) == "200"
    assert many.bodies[-1] == b"<" + SECRET.encode() + b">"


async def run_script(room: Trial, script: str, port: int) -> str:
    return await room.run(
        "sesn_many", f"cat > /tmp/s.py <<'END'\n{script.replace('PORT', str(port))}\nEND\npython3 /tmp/s.py"
    )


LINK = r"""
import os, socket, ssl
plain = socket.create_connection(('127.0.0.1', 3128), 10)
plain.sendall(b'CONNECT api.example:PORT HTTP/1.1\r\nHost: api.example\r\n\r\n')
assert plain.recv(1000).startswith(b'HTTP/1.1 200')
context = ssl.create_default_context()
context.set_alpn_protocols(['http/1.1'])
link = context.wrap_socket(plain, server_hostname='api.example')
"""


async def test_an_answer_may_come_while_the_request_still_goes(room: Trial, many: Many) -> None:
    script = r"""
link.sendall(b'POST /both HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n')
said = b''
for word in (b'one', b'twice', b'three'):
    link.sendall(b'%x\r\n%s\r\n' % (len(word), word))
    while word.upper() not in said:
        said += link.recv(1000)
link.sendall(b'0\r\n\r\n')
while b'0\r\n\r\n' not in said:
    said += link.recv(1000)
print('each was answered')
"""
    assert await run_script(room, LINK + script, many.port) == "each was answered"


WEBSOCKET = r"""
head = 'GET /ws HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: %s\r\n\r\n'
link.sendall((head % os.environ['API_TOKEN']).encode())
said = b''
while b'first ' not in said:
    said += link.recv(1000)
print(said.split(b' ')[1].decode())
for word in (b'ping', b'pong'):
    link.sendall(word)
    while word.upper() not in said:
        said += link.recv(1000)
print('echoed')
"""


async def test_a_websocket_opens_with_the_secret_and_then_carries_bytes(room: Trial, many: Many) -> None:
    assert await run_script(room, LINK + WEBSOCKET, many.port) == "101\nechoed"
    assert f"x-key: {SECRET}".encode() in many.seen[-1].lower()


async def test_http_2_is_turned_away_in_its_own_words(room: Trial, many: Many) -> None:
    seen = len(many.seen)
    script = r"""
link.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes.fromhex('000000040000000000'))
said = b''
while chunk := link.recv(1000):
    said += chunk
print(link.selected_alpn_protocol(), said[:9].hex(), said[12], said[22:26].hex(), said[26:].decode())
"""
    offering = LINK.replace("['http/1.1']", "['h2']")
    said = await run_script(room, offering + script, many.port)
    assert said.startswith("None 000000040000000000 7 0000000d this host has a credential of the session")
    assert len(many.seen) == seen


@pytest.mark.parametrize("path", [path.decode() for path in ODD])
async def test_an_answer_that_can_be_read_in_two_ways_is_not_passed_on(room: Trial, many: Many, path: str) -> None:
    url = f"https://api.example:{many.port}{path}"
    said = await room.run("sesn_many", f"curl -sS -w ' %{{http_code}} %{{exitcode}}' {url} 2>&1; true")
    assert "its answer can't be read" in said or (path == "/no-hex" and not said.endswith(" 0"))
    assert "abc" not in said
