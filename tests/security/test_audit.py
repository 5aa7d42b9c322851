"""`outrider audit`: it finds what is hidden where an attacker would find it, and a server as it is shows it nothing."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from anthropic import Anthropic

from outrider.ports.sandbox import ToolCall
from outrider.store.postgres import connections
from outrider.store.postgres.searched import tables_holding
from outrider.testing.leaks import inside, places
from outrider.testing.leaks.disguises import disguises, holds
from outrider.testing.leaks.planted import VARIABLE
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.server_process import ServerProcess, data_directory, running_server

ROOT = os.geteuid() == 0
WORD = "canary0123456789abcdef0123"
WANTED = disguises(WORD.encode())


@pytest.fixture(scope="module")
def server() -> Generator[ServerProcess]:
    with data_directory() as data, running_server(data) as server:
        server.until_up()
        yield server


def audit(server: ServerProcess, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "outrider", "audit", "--data", str(server.data), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_server_as_it_is_shows_no_canary_and_keeps_none(server: ServerProcess) -> None:
    said = audit(server, "--also", str(server.data.with_name("data.log")))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "sandbox of a session that may use the canaries: no canary in" in said.stdout
    assert "its variable holds: outr_secret_" in said.stdout
    assert "it has no such variable" in said.stdout
    assert f"files in {server.data}: no canary in" in said.stdout
    assert ROOT == ("not looked at" not in said.stdout), "an ordinary user is told what was hidden"
    with Anthropic(base_url=server.until_up(), api_key=server.key()) as client:
        assert client.beta.vaults.list(include_archived=True).data == []
        assert client.beta.sessions.list(include_archived=True).data == []
        assert client.beta.environments.list().data == []


def test_a_model_that_runs_nothing_gives_no_verdict_and_leaves_nothing(server: ServerProcess) -> None:
    said = audit(server, "--model", "scripted/echo")
    assert said.returncode == 3
    assert "No verdict" in said.stdout
    assert "left behind" not in said.stdout
    with Anthropic(base_url=server.until_up(), api_key=server.key()) as client:
        assert client.beta.vaults.list(include_archived=True).data == []


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "outrider", "audit", "--data", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 2
    assert "No server has been started" in said.stderr


@pytest.mark.anyio
async def test_in_a_sandbox_it_finds_what_is_hidden_in_files_processes_and_memory() -> None:
    host = SandboxHost()
    host.start()
    try:
        search = inside.script(WANTED, since="2026-01-01", outside=(Path("/etc"), Path("/nowhere")), variable=VARIABLE)
        encoded = base64.b64encode(b"x" + WORD.encode()).decode()
        begun = "until grep -q sleep /proc/$!/comm; do :; done"
        hide = (
            f"echo {encoded} > /workspace/notes; echo {WORD[::-1]} > /tmp/backwards\n"
            f"TOKEN={WORD} sleep 60 &\n{begun}\n(exec -a {WORD} sleep 60) &\n{begun}\n"
        )
        call = ToolCall("call_1", "thr_1", "bash", {"command": f"{hide}\n{search}"})
        outcome = await host.driver().execute("sesn_1", call, epoch=1)
    finally:
        await host.close()
    said = inside.read(str(outcome.content[0]["text"]))
    assert said.control
    assert said.whole
    assert {"/workspace/notes", "/tmp/backwards"} <= set(said.hits)
    for what in ("environ", "cmdline", "mem"):
        assert any(f"/{what}" in hit for hit in said.hits), what
    assert said.sees == ["/etc"]
    assert said.variable == "(not set)"


def shifted(by: int) -> Callable[[bytes], bytes]:
    return lambda word: base64.b64encode(b"x" * by + word)


HIDES: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "hexadecimal": lambda word: word.hex().encode(),
    "backwards": lambda word: word[::-1],
    "base64": shifted(0),
    "base64 one further": shifted(1),
    "base64 two further": shifted(2),
    "base64 for addresses": lambda word: base64.urlsafe_b64encode(word + b"yz"),
    "percent": lambda word: "".join(f"%{byte:02X}" for byte in word).encode(),
    "gzip": lambda word: b"log line\n" + gzip.compress(b"it is " + word),
    "zstd": lambda word: b"log line\n" + zstandard.compress(b"it is " + word),
    "gzip in zstd": lambda word: zstandard.compress(b"a tar" + gzip.compress(b"it is " + word)),
    "the beginning of zstd": lambda word: zstandard.compress(word + os.urandom(200_000).hex().encode())[:150_000],
    "UTF-16": lambda word: word.decode().encode("utf-16-le"),
}


@pytest.mark.parametrize("hide", HIDES.values(), ids=HIDES.keys())
def test_a_search_knows_what_is_hidden(hide: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before " + hide(WORD.encode()) + b" after")
    (tmp_path / "other").write_bytes(b"canary0123456789abcdef, but another one")
    assert places.files([tmp_path], WANTED).hits == [str(tmp_path / "file")]


def test_a_search_says_what_it_could_not_look_at(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"x" * 2000)
    sight = places.files([tmp_path, tmp_path / "none"], WANTED, largest=1000)
    assert (sight.looked, sight.hits) == (0, [])
    assert [text.partition(": ")[2] for text in sight.blind] == ["0 MB"]


def test_a_search_of_memory_finds_what_is_there() -> None:
    kept = (WORD + "in memory").encode()
    assert places.in_memory(os.getpid(), {kept}) == {kept}
    assert not holds(b"nothing", WANTED)


@pytest.mark.anyio
async def test_in_a_database_it_names_the_tables_and_reads_binary_columns_too(postgres: PostgresServer) -> None:
    url = postgres.url(postgres.database(), tcp=True)
    link: Any = await connections.to_read(url)
    await link.execute(
        "CREATE TABLE clean (body bytea); CREATE TABLE leaky (body bytea); CREATE TABLE told (line text)"
    )
    await link.execute("INSERT INTO clean VALUES ('nothing')")
    await link.execute("INSERT INTO leaky VALUES ($1)", f"x{WORD}".encode())
    await link.execute("INSERT INTO told VALUES ($1)", base64.b64encode(f"ab{WORD}".encode()).decode())
    await link.close()
    assert await tables_holding(url, WANTED) == (3, ["table public.leaky", "table public.told"], [])
