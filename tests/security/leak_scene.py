"""A server tree with a canary for a key, before a model that echoes it and an agent that goes looking for it.

What looks for the canary afterwards is in `outrider.testing.leaks`.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from anthropic import Anthropic
from sdk_clients import sdk_client

from outrider.testing.server_process import ServerProcess, data_directory, running_server

ATTACK = "env; cat /proc/*/environ /proc/self/mountinfo; ls -la /proc/*/fd /; grep -rs canary /etc /tmp /run /mnt; true"


@dataclass
class Scene:
    """The tree, its canary, and everything that a client of it has seen."""

    server: ServerProcess
    canary: bytes
    modules: Path
    keys_seen: list[str] = field(default_factory=list[str])
    events: list[str] = field(default_factory=list[str])

    def pids(self) -> dict[str, int]:
        return {"supervisor": self.server.process.pid, **self.server.children()}


@contextmanager
def scene() -> Generator[Scene]:
    """After the first model answer (an error with the key in it), an attack from the sandbox, and a last word."""
    canary = f"sk-canary-{secrets.token_hex(24)}"
    keys_seen: list[str] = []
    with model_server(keys_seen) as url, data_directory() as data:
        modules = data.parent / "modules"
        modules.mkdir()
        modules.chmod(0o777)
        environment = {
            "OUTRIDER_MODEL_URL": url,
            "OUTRIDER_MODEL_KEY": canary,
            "ANTHROPIC_AUTH_TOKEN": canary,
            "OUTRIDER_TEST_MODULES_DIR": str(modules),
        }
        with running_server(data, environment=environment) as server:
            found = Scene(server, canary.encode(), modules, keys_seen)
            found.events = list(_talk(sdk_client(server.until_up(), server.key())))
            yield found


def _talk(client: Anthropic) -> Iterator[str]:
    """Two sessions, one turn each; every event as JSON."""
    agent = client.beta.agents.create(name="spy", model="any", tools=[{"type": "agent_toolset_20260401"}])
    place = client.beta.environments.create(name="spy")
    for text in ("fail", "attack"):
        session = client.beta.sessions.create(agent=agent.id, environment_id=place.id)
        with client.beta.sessions.events.stream(session.id) as stream:
            content: list[Any] = [{"type": "text", "text": text}]
            client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": content}])
            for event in stream:
                yield event.to_json()
                if event.type == "session.status_idle":
                    break


@contextmanager
def model_server(keys_seen: list[str]) -> Generator[str]:
    """A Messages server: an error that echoes the key, then a bash call, then a text. Notes the keys that it gets."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            key = self.headers.get("x-api-key") or self.headers.get("authorization", "")
            keys_seen.append(key)
            if b"attack" not in body:
                self._say(401, "application/json", _error(f"bad key {key}"))
            elif b"tool_result" in body:
                self._say(200, "text/event-stream", _stream({"type": "text", "text": f"done, by the way {key}"}))
            else:
                call = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": ATTACK}}
                self._say(200, "text/event-stream", _stream(call))

        def _say(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _error(message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": "authentication_error", "message": message}}).encode()


def _stream(block: dict[str, Any]) -> bytes:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "any", "content": []}
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    empty: dict[str, Any] = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
    if block["type"] == "text":
        delta, stop = {"type": "text_delta", "text": block["text"]}, "end_turn"
    else:
        delta, stop = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}, "tool_use"
    frames: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %s\ndata: %s\n\n" % (f["type"].encode(), json.dumps(f).encode()) for f in frames)
