"""A small MCP server and its token endpoint on loopback: takes one access token, rotates refresh tokens, and fails when
told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


@dataclass
class Scene:
    """`access` and `refresh` are good now. `mcp_status` and `token_status` other than 200 are answered to everybody,
    `says` is every answer's body in place of its own."""

    url: str = ""
    access: str = "access-1"
    refresh: str = "refresh-1"
    mcp_status: int = 200
    token_status: int = 200
    refreshes: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    seen: list[str | None] = field(default_factory=list[str | None])
    basic: list[str | None] = field(default_factory=list[str | None])
    lifetime: object = 3600
    location: str | None = None
    says: str | None = None
    kind: str = "application/json"

    def grant(self, form: dict[str, str]) -> tuple[int, object]:
        self.refreshes.append(form)
        if self.token_status != 200:
            return self.token_status, {"error": "temporarily_unavailable", "echo": form}
        if form.get("refresh_token") != self.refresh:
            return 400, {"error": "invalid_grant", "echo": form}
        number = len(self.refreshes) + 1
        self.access, self.refresh = f"access-{number}", f"refresh-{number}"
        return 200, {"access_token": self.access, "refresh_token": self.refresh, "expires_in": self.lifetime}

    def rpc(self, authorization: str | None, message: dict[str, object]) -> tuple[int, object]:
        self.seen.append(authorization)
        if self.mcp_status != 200:
            return self.mcp_status, {"error": "told to fail", "echo": authorization}
        if authorization != f"Bearer {self.access}":
            return 401, {"error": "invalid_token", "echo": authorization}
        if "id" not in message:
            return 202, {}
        tools = {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}
        return 200, {
            "jsonrpc": "2.0",
            "id": message["id"],
            "result": hello if message["method"] == "initialize" else tools,
        }


@contextmanager
def running_scene() -> Generator[Scene]:
    scene = Scene()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if self.path == "/token":
                scene.basic.append(self.headers.get("authorization"))
                return self._say(*scene.grant({name: values[0] for name, values in parse_qs(body).items()}))
            return self._say(*scene.rpc(self.headers.get("authorization"), json.loads(body)))

        def _say(self, status: int, document: object) -> None:
            body = json.dumps(document).encode() if scene.says is None else scene.says.encode()
            self.send_response(status)
            self.send_header("content-type", scene.kind)
            if scene.location is not None:
                self.send_header("location", scene.location)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    scene.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield scene
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
