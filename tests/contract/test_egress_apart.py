"""A way out for sandboxes on a host that stands apart from the vault, and what such a host can't do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from apart import Deployment, Part, deployment
from live_server import KEY, Stage
from sdk_clients import sdk_client
from session_talk import Talk
from turns import TOOLSET, every, said, text_of

from outrider.links import peers
from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.ports import free_port

SECRET = "canary-5a11d7c0e2b94f63"


@contextmanager
def web() -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def asked(made: Deployment, port: int, name: str, session: str, *, way: bool) -> bytes:
    """What the vault answers to a host of this name that speaks for this session."""
    identity = made.authority.identity(name)
    _, reader, writer = await peers.dial("127.0.0.1", port, peers.client_context(identity), "vault")
    first = json.dumps({"session": session, "way": way}).encode() + b"\n"
    writer.write(first + (b"" if way else b"GET http://localhost:1/ HTTP/1.1\r\nHost: localhost:1\r\n\r\n"))
    try:
        async with asyncio.timeout(15):
            return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def opened(part: Part, stage: Stage, command: str) -> Talk:
    stage.put("m1", Turn(ToolUse("bash", {"command": command})), Turn("Done."))
    client = sdk_client(part.url(), KEY, max_retries=0)
    vaults: Any = client.beta.vaults
    vault = vaults.create(display_name="tests")
    auth = {"type": "environment_variable", "secret_name": "API_TOKEN", "secret_value": SECRET}
    vaults.credentials.create(vault.id, auth=auth | {"networking": {"type": "limited", "allowed_hosts": ["a.example"]}})
    tools: Any = [TOOLSET]
    agent = client.beta.agents.create(name="tester", model="m1", tools=tools)
    networking: Any = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["localhost"]}}
    environment = client.beta.environments.create(name="tests", config=networking)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id, vault_ids=[vault.id])
    return Talk(client, session.id)


def test_sandboxes_elsewhere_leave_by_the_vault_and_their_host_speaks_for_no_other_session() -> None:
    with Stage().open() as stage, deployment() as made, web() as port:
        far = free_port()
        config = f'[egress]\nlisten = "127.0.0.1:{far}"\nallow_private = ["127.0.0.1:{port}"]\n'
        parts = [
            made.vault({"OUTRIDER_MODEL_URL": stage.url}, config),
            made.sandbox("h1", "", f'[egress]\nurl = "https://127.0.0.1:{far}"\n'),
        ]
        for part in parts:
            part.start()
            part.facts()
        environment = made.reach("h1") | {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_API_KEY": KEY}
        front = made.part("front", "api,harness", "", environment)
        front.start()
        fetch = "curl -sS --noproxy '' -w ' %{http_code}' http://"
        talk = opened(front, stage, f"echo $API_TOKEN; {fetch}localhost:{port}/; {fetch}other.example/")
        (result,) = [text_of(event) for event in every(said(talk, "work"), "agent.tool_result")]
        placeholder, hello, *refused = result.splitlines()
        assert placeholder.startswith("outr_secret_")
        assert hello.startswith("hello 200")
        assert "other.example is not in the environment's" in "".join((hello, *refused))
        made.authority.issue("h2", "sandbox")
        assert placeholder.encode() in asyncio.run(asked(made, far, "h1", talk.id, way=True))
        told = asyncio.run(asked(made, far, "h2", talk.id, way=True))
        assert json.loads(told) == {"environment": {}, "trust": ""}
        assert b" 503 " in asyncio.run(asked(made, far, "h2", talk.id, way=False))
        assert b" 403 " in asyncio.run(asked(made, far, "h1", talk.id, way=False))
        made.authority.issue("brain", "harness")
        assert asyncio.run(asked(made, far, "brain", talk.id, way=True)) == b""
        talk.client.close()
        front.stop()
